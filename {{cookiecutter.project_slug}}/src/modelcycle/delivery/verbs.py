"""The verbs of this room, as the command line has them."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def image(
    version: Annotated[str, typer.Argument(help="A version or an alias.")] = "champion",
    pipeline: Annotated[bool, typer.Option("--pipeline", help="The image that runs monitor and retrain.")] = False,
) -> None:
    """Build the image of a version with docker, podman or buildah, and list what it holds (SBOM).

    It is called $IMAGE:VERSION. The builder's own options go into BUILD_OPTIONS; BUILDER chooses one of them.
    """
    from modelcycle.delivery.image import image

    image(version, "pipeline" if pipeline else "service")


@app.command()
def push(
    version: Annotated[str, typer.Argument(help="A version or an alias.")] = "champion",
    pipeline: Annotated[bool, typer.Option("--pipeline", help="The image that runs monitor and retrain.")] = False,
) -> None:
    """Push the image of a version to the container registry, and enter its digest into the ledger.

    Log in with the builder's own command before. Its options go into PUSH_OPTIONS.
    """
    from modelcycle.delivery.image import push

    push(version, "pipeline" if pipeline else "service")


@app.command()
def deploy(
    environment: Annotated[str, typer.Argument(help="staging or production.")],
    digest: Annotated[str, typer.Option(help="A pushed image; without it, the champion's.")] = "",
) -> None:
    """Deploy a pushed image: deploy/PLATFORM/apply.sh does it, the ledger notes it.

    Only a version that was the champion goes into production. The way back is the digest that was replaced, which is
    printed. Example: deploy staging
    """
    from modelcycle.delivery.deploy import deploy

    deploy(environment, digest)


@app.command()
def undeploy(environment: Annotated[str, typer.Argument(help="staging or production.")]) -> None:
    """Take what runs in an environment away: deploy/PLATFORM/remove.sh does it, the ledger notes it."""
    from modelcycle.delivery.deploy import undeploy

    undeploy(environment)


@app.command()
def audit() -> None:
    """Look for known vulnerabilities in the packages of uv.lock, and of the images that run or are to run.

    The database is osv.dev's, or the service or folder that AUDIT_DATABASE names. The exit status is 2 where there is
    a vulnerability that pyproject.toml does not accept, and 1 where the database gives no answer.
    """
    from modelcycle.delivery.audit import audit

    audit()
