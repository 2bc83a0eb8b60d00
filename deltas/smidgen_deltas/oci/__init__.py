"""OCI: descriptors, manifests, configs, layouts."""
