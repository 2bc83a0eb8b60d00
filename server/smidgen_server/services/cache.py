"""A cache with stated bounds."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Least recently used values, bounded by cost and age. Thread-safe."""

    def __init__(self, capacity: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity, self._ttl, self._clock = capacity, ttl, clock
        self._values: OrderedDict[Key, tuple[float, int, Value]] = OrderedDict()
        self._cost = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            if found[0] < self._clock():
                self._drop(key)
                return None
            self._values.move_to_end(key)
            return found[2]

    def put(self, key: Key, value: Value, cost: int) -> None:
        """Keep a value; one that costs more than a quarter of the capacity is not kept."""
        with self._lock:
            if key in self._values:
                self._drop(key)
            if cost > self._capacity // 4:
                return
            self._values[key] = (self._clock() + self._ttl, cost, value)
            self._cost += cost
            while self._cost > self._capacity:
                self._drop(next(iter(self._values)))

    def forget(self, key: Key) -> None:
        with self._lock:
            if key in self._values:
                self._drop(key)

    @property
    def cost(self) -> int:
        return self._cost

    def _drop(self, key: Key) -> None:
        self._cost -= self._values.pop(key)[1]
