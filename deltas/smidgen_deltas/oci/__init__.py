"""OCI: descriptors, manifests, configs, layers and layouts."""
