"""Templates of topics: what they subscribe to, and what topics say by them."""

import pytest

from services.mqtt.topics import Called, TemplateError, parse_templates


@pytest.mark.parametrize(
    ("template", "subscribed", "topic", "called"),
    [
        ("site/{site}/device/{device}/{name}", "site/+/device/+/+", "site/a/device/b/temp",
         Called(None, "temp", None, {"site": "a", "device": "b"})),
        ("{sensor_id}", "+", "sensor-1", Called("sensor-1", None, None, {})),
        ("{name}/{field}", "+/+", "weather/t", Called(None, "weather", "t", {})),
        ("a/+/{device}/#", "a/+/+/#", "a/b/c/d/e", Called(None, None, None, {"device": "c"})),
        ("a/{device}/#", "a/+/#", "a/b", Called(None, None, None, {"device": "b"})),
        ("$share/us/a/{name}", "$share/us/a/+", "a/temp", Called(None, "temp", None, {})),
        ("a/{room}/{name}", "a/+/+", "a//temp", Called(None, "temp", None, {})),
    ],
)  # fmt: skip
def test_levels_say_what_the_words_between_braces_name(
    template: str, subscribed: str, topic: str, called: Called
) -> None:
    [found] = parse_templates(template)
    assert found.filter == subscribed
    assert found.called(topic) == called


@pytest.mark.parametrize("topic", ["site/a", "sites/a/b", "site/a/b/c", "", "site"])
def test_topics_of_another_form_are_none_of_it(topic: str) -> None:
    [template] = parse_templates("site/{site}/{name}")
    assert template.called(topic) is None


def test_templates_are_separated_by_commas() -> None:
    assert [one.filter for one in parse_templates(" a/{name}, b/{device}/{name} ,")] == ["a/+", "b/+/+"]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("", "names no topic"),
        ("a//{name}", "empty level"),
        ("/a/{name}", "empty level"),
        ("$share/us", "empty level"),
        ("a/dev-{id}", "one word between braces"),
        ("a/{}", "one word between braces"),
        ("a/#/{name}", "# for all behind"),
        ("a/x+/{name}", "a whole level"),
        ("{a}/{a}", "a word twice"),
        ("{sensor_id}/{room}", "beside {sensor_id}"),
        ("a/{field}", "without {name}"),
    ],
)
def test_a_template_that_is_none_says_why(template: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        parse_templates(template)
