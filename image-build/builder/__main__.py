"""What `make image` and `make image-lock` call: `python -m builder image`, `... lock`."""

import argparse
import datetime as dt
import os
import sys
from pathlib import Path

from builder import archive, lock, make
from builder.places import Places
from builder.recipe import BASES
from builder.steps import Steps
from builder.trouble import BuildError


def main(argv: list[str] | None = None) -> int:
    """Do one of the two.

    Returns:
        0 if it was done, 1 if not; the reason is on stderr then.
    """
    parser = argparse.ArgumentParser(prog="builder", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("image", "lock"))
    parser.add_argument("--base", choices=BASES, default=BASES[0])
    parser.add_argument("--out", type=Path, help="folder for the image (dist/image)")
    parser.add_argument("--update-keys", default=os.environ.get("UPDATE_KEYS", ""), metavar="DIR")
    parser.add_argument("--url", default=os.environ.get("IMAGE_URL", ""), metavar="URL")
    parser.add_argument("--with-new", action="store_true", help="also files that git does not know")
    args = parser.parse_args(argv)
    steps = Steps()
    try:
        places = Places.usual(args.out, args.base)
        if args.what == "lock":
            with steps.step("ask the archive what the recipe means today"):
                debs = archive.resolve(archive.Archive(places.recipe))
            now = dt.datetime.now(dt.UTC).replace(microsecond=0)
            lock.write(places.lock, debs, now, places.recipe.lock_command)
            steps.say(f"{len(debs)} packages in .lock/{places.lock.name}.")
        else:
            make.image(
                places, make.Wishes(args.update_keys, args.url, with_new=args.with_new), steps
            )
    except BuildError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    steps.say(f"{steps.total_s():.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
