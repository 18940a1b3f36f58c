"""`millrace secret`: what the chart's Job runs before an installation."""

from typing import Annotated

import typer

from .process import command, fail

__all__ = ["secret"]


def secret(
    name: Annotated[str, typer.Argument(help="Name of the Secret in this pod's namespace.")],
    templates: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="`random` is drawn once; {key} is another key's value.")
    ],
) -> None:
    """Make a Secret of the cluster complete; what was drawn never changes and is never shown."""
    import asyncio

    from services.operator.secret import make_secret
    from services.platform.kubernetes import API_ERRORS

    pairs = [template.partition("=") for template in templates]
    if wrong := [key for key, equals, _ in pairs if not (key and equals)]:
        raise typer.BadParameter(f"{wrong[0]}: say KEY=VALUE")
    with command():
        try:
            done = asyncio.run(make_secret(name, {key: value for key, _, value in pairs}))
        except (*API_ERRORS, ValueError) as error:
            raise fail(error) from None
    typer.echo(f"secret {name}: {done}")
