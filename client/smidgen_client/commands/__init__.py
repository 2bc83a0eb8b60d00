"""The commands of a device, one module each, imported when used."""
