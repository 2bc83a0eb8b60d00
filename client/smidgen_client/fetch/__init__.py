"""Carrying out a plan: ranges into frames, frames into contents."""
