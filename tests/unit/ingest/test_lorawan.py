"""Webhooks of LoRaWAN network servers: what of their events is read, and by what an uplink is known."""

import copy
from typing import Any

import pytest

from services.contract import series_of
from services.ingest.doors.lorawan import chirpstack, ttn
from services.ingest.doors.lorawan.uplink import Uplink, readings_of
from services.platform.http.errors import Problem

TTN: dict[str, Any] = {
    "end_device_ids": {
        "device_id": "soil-7",
        "application_ids": {"application_id": "fields"},
        "dev_eui": "70B3D57ED0000007",
        "dev_addr": "260B0007",
    },
    "correlation_ids": ["as:up:01HX0000000000000000000001", "gs:uplink:01HX0000000000000000000002"],
    "received_at": "2025-10-22T21:00:00.412345678Z",
    "uplink_message": {
        "session_key_id": "AYxyz0123456789==",
        "f_port": 2,
        "f_cnt": 41,
        "frm_payload": "AQIDBA==",
        "decoded_payload": {"temperature": 21.5, "soil": {"moisture": 40, "dry": False}, "state": "ok", "raw": [1, 2]},
        "rx_metadata": [{"gateway_ids": {"gateway_id": "roof"}, "rssi": -90, "snr": 8.5}],
        "received_at": "2025-10-22T21:00:00.207123456Z",
    },
}
CHIRPSTACK: dict[str, Any] = {
    "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
    "time": "2025-10-22T21:00:00.775023242+00:00",
    "deviceInfo": {
        "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
        "tenantName": "farm",
        "applicationId": "17c82e96-be03-4f38-aef3-f83d48582d97",
        "applicationName": "fields",
        "deviceProfileName": "soil",
        "deviceName": "soil-7",
        "devEui": "70b3d57ed0000007",
        "tags": {"plot": "north", "device": "a clash", "__name__": "another"},
    },
    "devAddr": "00189440",
    "fCnt": 4,
    "fPort": 2,
    "data": "AQIDBA==",
    "object": {"temperature": 21.5, "soil": {"moisture": 40.0}},
    "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -36, "snr": 10.5}],
}


def changed(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(event)
    *inside, last = path.split(".")
    at = found
    for name in inside:
        at = at[name]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return found


def of_ttn(event: Any) -> Uplink:
    uplink = ttn.uplink_of(event, {})
    assert uplink is not None
    return uplink


def of_chirpstack(event: Any) -> Uplink:
    uplink = chirpstack.uplink_of(event, {"event": "up"})
    assert uplink is not None
    return uplink


def test_numbers_that_the_things_stack_decoded_are_readings_and_the_rest_is_counted() -> None:
    decoded = readings_of(of_ttn(TTN), "ann")
    labels = [("application", "fields"), ("device", "soil-7"), ("dev_eui", "70B3D57ED0000007")]
    columns = decoded.columns()
    found = dict(zip([columns.series[sensor] for sensor in columns.sensor_ids], columns.values.tolist(), strict=True))
    assert found == {
        series_of("temperature", labels): 21.5,
        series_of("soil.moisture", labels): 40.0,
        series_of("soil.dry", labels): 0.0,
    }
    assert set(columns.timestamps.tolist()) == {1_761_166_800_207_123}
    assert decoded.skipped == {"strings": 1, "lists": 1}


def test_chirpstack_s_tags_are_labels_beside_its_names() -> None:
    uplink = of_chirpstack(CHIRPSTACK)
    assert uplink.labels == {
        "tenant": "farm", "application": "fields", "device": "soil-7", "dev_eui": "70b3d57ed0000007",
        "plot": "north", "tag.device": "a clash", "tag.__name__": "another",
    }  # fmt: skip
    decoded = readings_of(uplink, "ann")
    assert sorted(decoded.columns().values.tolist()) == [21.5, 40.0]
    assert decoded.columns().timestamps.tolist() == [1_761_166_800_775_023] * 2


def test_an_uplink_that_comes_again_has_its_key_and_no_other_has() -> None:
    def key(uplink: Uplink, caller: str = "ann") -> bytes:
        [one] = readings_of(uplink, caller).slices
        return one.key

    again = changed(changed(TTN, "correlation_ids", ["as:up:01HX0000000000000000000009"]), "received_at", None)
    others = [changed(TTN, f"uplink_message.{name}", value) for name, value in
              {"f_cnt": 42, "session_key_id": "AY", "received_at": "2025-10-22T21:00:01Z"}.items()]  # fmt: skip
    others.append(changed(TTN, "end_device_ids.device_id", "soil-8"))
    keys = [key(of_ttn(one)) for one in (TTN, *others)]
    keys += [key(of_chirpstack(CHIRPSTACK)), key(of_chirpstack(changed(CHIRPSTACK, "deduplicationId", "x")))]
    keys += [key(of_ttn(TTN), "bob")]
    assert key(of_ttn(again)) == keys[0]
    assert len(set(keys)) == len(keys)


def test_events_of_other_kinds_are_no_uplinks() -> None:
    assert ttn.uplink_of(changed(TTN, "uplink_message", None) | {"join_accept": {}}, {}) is None
    assert chirpstack.uplink_of({"anything": 1}, {"event": "join"}) is None


def test_an_uplink_without_a_codec_is_counted() -> None:
    decoded = readings_of(of_chirpstack(changed(CHIRPSTACK, "object", None)), "ann")
    assert (len(decoded), decoded.faults, decoded.skipped) == (0, [], {"undecoded": 1})


def test_a_name_that_is_too_long_is_a_fault_and_the_others_are_kept() -> None:
    decoded = readings_of(of_ttn(changed(TTN, "uplink_message.decoded_payload", {"n" * 129: 1, "t": 2})), "ann")
    [fault] = decoded.faults
    assert (fault.index, fault.field, fault.code) == (0, "name", "too_long")
    assert decoded.columns().values.tolist() == [2.0]
    assert decoded.positions is not None
    assert decoded.positions.tolist() == [1]


@pytest.mark.parametrize("path", ["end_device_ids.device_id", "end_device_ids", "uplink_message.received_at"])
@pytest.mark.parametrize("value", [7, "", [], {}])
def test_what_is_no_message_of_the_things_stack_is_refused_by_name(path: str, value: Any) -> None:
    with pytest.raises(Problem, match=path.rpartition(".")[2]) as raised:
        ttn.uplink_of(changed(TTN, path, value), {})
    assert raised.value.code == "malformed_body"


@pytest.mark.parametrize("event", [None, 1, [], {}, {"deviceInfo": []}, {"deviceInfo": {"devEui": "a"}, "time": 1}])
def test_what_is_no_event_of_chirpstack_is_refused(event: Any) -> None:
    with pytest.raises(Problem, match="send it as the network server does"):
        chirpstack.uplink_of(event, {"event": "up"})
    with pytest.raises(Problem, match=r"event: is missing"):
        chirpstack.uplink_of(event, {})
