"""Migrations, one linear chain: 0001_core, 0002_oci, 0003_ostree, 0004_surface, …"""
