"""`pushrod image create|list|set|delete`."""

from __future__ import annotations

import click

from pushrod.client import call
from pushrod.connection import ConnectionOptions, connection_options, resolve_connection
from pushrod.errors import CommandError
from pushrod.presentation import print_json, print_table, say


@click.group()
def image() -> None:
    """Name container images by slugs, for `image: SLUG` in workflows."""


@image.command("create")
@click.argument("slug")
@click.argument("image_url", metavar="IMAGE")
@click.option("--public", is_flag=True, help="For every account.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def create(
    options: ConnectionOptions, slug: str, image_url: str, public: bool, as_json: bool
) -> None:
    """Name IMAGE, a reference such as debian:12 or a URI docker://…, by SLUG."""
    created = call(
        resolve_connection(options),
        lambda client: client.create_image(slug, image_url, public=public),
    )
    if as_json:
        return print_json(created)
    return say(f"{created['slug']} is {created['imageUrl']}")


@image.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def list_images(options: ConnectionOptions, as_json: bool) -> None:
    """List the slugs and their images."""
    images = call(resolve_connection(options), lambda client: client.images())
    if as_json:
        return print_json(images)
    rows = [
        (one.get("slug"), one.get("imageUrl"), "yes" if one.get("public") else "no")
        for one in images
    ]
    return print_table(("slug", "image", "public"), rows, empty="no images")


@image.command("set")
@click.argument("slug")
@click.option("--image", "image_url", metavar="IMAGE", help="What it stands for from now on.")
@click.option("--name", "new_slug", metavar="SLUG", help="Another slug for it.")
@click.option("--public/--no-public", default=None, help="Whether it is for every account.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@connection_options
def set_image(
    options: ConnectionOptions,
    slug: str,
    image_url: str | None,
    new_slug: str | None,
    public: bool | None,
    as_json: bool,
) -> None:
    """Change what SLUG (or an image's id) stands for; steps that begin later run in that."""
    changes = {"imageUrl": image_url, "slug": new_slug, "public": public}
    if all(value is None for value in changes.values()):
        raise CommandError("say what to change: --image, --name, --public or --no-public")
    changed = call(resolve_connection(options), lambda client: client.change_image(slug, changes))
    if as_json:
        return print_json(changed)
    return say(f"{changed['slug']} is {changed['imageUrl']}")


@image.command("delete")
@click.argument("slug")
@connection_options
def delete(options: ConnectionOptions, slug: str) -> None:
    """Forget SLUG (or an image's id). The image itself stays in its registry."""
    call(resolve_connection(options), lambda client: client.delete_image(slug))
    say(f"deleted {slug}")
