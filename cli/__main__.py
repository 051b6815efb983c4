"""``python -m cli`` is ``roadwork``."""

from __future__ import annotations

from cli.app import main

main()
