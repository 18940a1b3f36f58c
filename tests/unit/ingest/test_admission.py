"""Admission before it has seen the stream's server."""

import traceback
from typing import Any

from services.ingest.limits.admission import Admission
from services.platform.http.errors import Problem
from services.platform.runtime.health import Health
from services.platform.settings import IngestSettings, RedisSettings


def test_a_refusal_keeps_nothing_of_the_requests_it_met() -> None:
    nowhere: Any = None
    admission = Admission(nowhere, nowhere, RedisSettings(), IngestSettings(), Health("stream"))
    lengths = []
    for _ in range(3):
        try:
            admission.check()
        except Problem as refusal:
            lengths.append(len(list(traceback.walk_tb(refusal.__traceback__))))
    assert lengths == [2, 2, 2]
