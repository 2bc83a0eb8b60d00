"""`python -m smidgen_server`: the server's commands without the client's."""

from __future__ import annotations

import click

from smidgen_server import cli, jobs_cli

main = click.Group(
    "smidgen", commands=[cli.serve, cli.db, cli.keys, cli.config, jobs_cli.jobs], help="Commands of the server."
)

if __name__ == "__main__":
    main(prog_name="python -m smidgen_server")
