"""Fetching of published data sets from their official places, and nowhere else.

Nothing here is called by training: data are fetched on request, once, and read from disk (or in
place, through ``hf://`` and ``s3://``) afterwards.
"""

from __future__ import annotations

from roadwork.data.fetch.http import Client
from roadwork.data.fetch.plan import Fetched, FetchPlan, fetch, plan_fetch, require_online
from roadwork.data.fetch.sources import MANUAL, PUBLISHED
from roadwork.data.fetch.vistas import STEPS, VistasFolder, check_vistas

__all__ = [
    "MANUAL",
    "PUBLISHED",
    "STEPS",
    "Client",
    "FetchPlan",
    "Fetched",
    "VistasFolder",
    "check_vistas",
    "fetch",
    "plan_fetch",
    "require_online",
]
