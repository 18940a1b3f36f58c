"""What tests share: real servers, a database for each test, services as real processes, and patience."""

from .databases import TestDatabase
from .patience import eventually, free_port
from .service import Service

__all__ = ["Service", "TestDatabase", "eventually", "free_port"]
