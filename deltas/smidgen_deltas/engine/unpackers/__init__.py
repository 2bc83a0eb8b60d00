"""Looking inside compressed files and archives, bit-exactly.

Each unpacker turns bytes into a recipe and inner streams, and those back into the same bytes. What it cannot rebuild
exactly it does not offer. `registry` is the way in; `layer` does whole compressed image layers in bounded memory.
"""
