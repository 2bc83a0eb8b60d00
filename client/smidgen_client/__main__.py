"""`python -m smidgen_client`: the same program as `smidgen`."""

from smidgen_client.cli import main

if __name__ == "__main__":
    main()
