"""The 124 classes of Mapillary Vistas v2.0: a class's id is its place in the list, from 0."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

__all__ = ["CLASSES", "OF_WORKS", "config"]

CLASSES: tuple[str, ...] = (
    "animal--bird",
    "animal--ground-animal",
    "construction--barrier--ambiguous",
    "construction--barrier--concrete-block",
    "construction--barrier--curb",
    "construction--barrier--fence",
    "construction--barrier--guard-rail",
    "construction--barrier--other-barrier",
    "construction--barrier--road-median",
    "construction--barrier--road-side",
    "construction--barrier--separator",
    "construction--barrier--temporary",
    "construction--barrier--wall",
    "construction--flat--bike-lane",
    "construction--flat--crosswalk-plain",
    "construction--flat--curb-cut",
    "construction--flat--driveway",
    "construction--flat--parking",
    "construction--flat--parking-aisle",
    "construction--flat--pedestrian-area",
    "construction--flat--rail-track",
    "construction--flat--road",
    "construction--flat--road-shoulder",
    "construction--flat--service-lane",
    "construction--flat--sidewalk",
    "construction--flat--traffic-island",
    "construction--structure--bridge",
    "construction--structure--building",
    "construction--structure--garage",
    "construction--structure--tunnel",
    "human--person--individual",
    "human--person--person-group",
    "human--rider--bicyclist",
    "human--rider--motorcyclist",
    "human--rider--other-rider",
    "marking--continuous--dashed",
    "marking--continuous--solid",
    "marking--continuous--zigzag",
    "marking--discrete--ambiguous",
    "marking--discrete--arrow--left",
    "marking--discrete--arrow--other",
    "marking--discrete--arrow--right",
    "marking--discrete--arrow--split-left-or-straight",
    "marking--discrete--arrow--split-right-or-straight",
    "marking--discrete--arrow--straight",
    "marking--discrete--crosswalk-zebra",
    "marking--discrete--give-way-row",
    "marking--discrete--give-way-single",
    "marking--discrete--hatched--chevron",
    "marking--discrete--hatched--diagonal",
    "marking--discrete--other-marking",
    "marking--discrete--stop-line",
    "marking--discrete--symbol--bicycle",
    "marking--discrete--symbol--other",
    "marking--discrete--text",
    "marking-only--continuous--dashed",
    "marking-only--discrete--crosswalk-zebra",
    "marking-only--discrete--other-marking",
    "marking-only--discrete--text",
    "nature--mountain",
    "nature--sand",
    "nature--sky",
    "nature--snow",
    "nature--terrain",
    "nature--vegetation",
    "nature--water",
    "object--banner",
    "object--bench",
    "object--bike-rack",
    "object--catch-basin",
    "object--cctv-camera",
    "object--fire-hydrant",
    "object--junction-box",
    "object--mailbox",
    "object--manhole",
    "object--parking-meter",
    "object--phone-booth",
    "object--pothole",
    "object--sign--advertisement",
    "object--sign--ambiguous",
    "object--sign--back",
    "object--sign--information",
    "object--sign--other",
    "object--sign--store",
    "object--street-light",
    "object--support--pole",
    "object--support--pole-group",
    "object--support--traffic-sign-frame",
    "object--support--utility-pole",
    "object--traffic-cone",
    "object--traffic-light--cyclists",
    "object--traffic-light--general-horizontal",
    "object--traffic-light--general-single",
    "object--traffic-light--general-upright",
    "object--traffic-light--other",
    "object--traffic-light--pedestrians",
    "object--traffic-sign--ambiguous",
    "object--traffic-sign--back",
    "object--traffic-sign--direction-back",
    "object--traffic-sign--direction-front",
    "object--traffic-sign--front",
    "object--traffic-sign--information-parking",
    "object--traffic-sign--temporary-back",
    "object--traffic-sign--temporary-front",
    "object--trash-can",
    "object--vehicle--bicycle",
    "object--vehicle--boat",
    "object--vehicle--bus",
    "object--vehicle--car",
    "object--vehicle--caravan",
    "object--vehicle--motorcycle",
    "object--vehicle--on-rails",
    "object--vehicle--other-vehicle",
    "object--vehicle--trailer",
    "object--vehicle--truck",
    "object--vehicle--vehicle-group",
    "object--vehicle--wheeled-slow",
    "object--water-valve",
    "void--car-mount",
    "void--dynamic",
    "void--ego-vehicle",
    "void--ground",
    "void--static",
    "void--unlabeled",
)

OF_WORKS: Mapping[str, str] = {
    "arrow board": "object--traffic-sign--temporary-front",
    "barricade": "construction--barrier--temporary",
    "barrier": "construction--barrier--temporary",
    "cone": "object--traffic-cone",
    "drum": "construction--barrier--temporary",
    "excavator": "object--vehicle--other-vehicle",
    "fence": "construction--barrier--temporary",
    "heap": "void--ground",
    "patch": "construction--flat--road",
    "pedestrian barrier": "construction--barrier--temporary",
    "roller": "object--vehicle--other-vehicle",
    "tubular marker": "construction--barrier--temporary",
    "vertical panel": "construction--barrier--temporary",
    "work truck": "object--vehicle--truck",
    "worker": "human--person--individual",
    "works sign": "object--traffic-sign--temporary-front",
}
"""Class of each kind of thing that stands in generated works."""

_STUFF = ("construction--flat", "construction--structure", "marking", "nature", "void")


def has_instances(name: str) -> bool:
    """Whether single things of a class are told apart (our division, by the class's first part)."""
    return not name.startswith(_STUFF)


def colour(number: int) -> tuple[int, int, int]:
    """A colour of our own for class ``number``: neighbours in the list differ much in hue."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.61803399 % 1.0, 0.5 + number % 3 / 6, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def config() -> dict[str, object]:
    """What ``config_v2.0.json`` holds, with colours and instance flags of our own."""
    return {
        "version": "2.0",
        "labels": [
            {
                "name": name,
                "readable": name.split("--")[-1].replace("-", " ").capitalize(),
                "color": list(colour(number)),
                "instances": has_instances(name),
                "evaluate": not name.startswith("void"),
            }
            for number, name in enumerate(CLASSES)
        ],
    }
