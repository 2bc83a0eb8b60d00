"""The delta engine: pairing, alignment, references, unpackers, coding."""
