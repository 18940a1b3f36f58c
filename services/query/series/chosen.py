"""What the database is asked before a question: which sensors it chooses, and the labels that they are grouped by."""

from ..catalogue.choice import TooManyError, ids_of
from ..fetch import Fetcher
from .groups import ALL, EACH, Groups, labelled, labels_of, unlabelled
from .question import Limits, QuestionError, SeriesQuestion, with_sensors

__all__ = ["chosen", "groups_of"]


async def chosen(fetcher: Fetcher, question: SeriesQuestion, limits: Limits, whose: str) -> SeriesQuestion:
    """Return a question with the sensors that it chooses of the catalogue.

    Raises:
        QuestionError: they are too many.
        Problem: database_unavailable, query_timeout.
    """
    if not question.matches:
        return question
    named = "MILLRACE_QUERY_MAX_SENSORS"
    try:
        sensors = await ids_of(fetcher, question.sensors, question.matches, limits.sensors, named, whose=whose)
    except TooManyError as error:
        raise QuestionError({"match": str(error)}) from None
    return with_sensors(question, sensors, limits)


async def groups_of(fetcher: Fetcher, question: SeriesQuestion, whose: str) -> Groups:
    """Return which sensors are aggregated together; labels are asked for before, as they do not change.

    Raises:
        Problem: database_unavailable, query_timeout.
    """
    if question.by in {(EACH,), (ALL,)}:
        return unlabelled(question.sensors, question.by)
    async with fetcher.fetch(labels_of(question.sensors, question.by), whose) as batches:
        return labelled(question.sensors, question.by, [table async for table in batches])
