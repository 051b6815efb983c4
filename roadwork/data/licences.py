"""Licences of the data sets: what they allow, what they forbid, and how sure we are of it.

This is a summary for people who are about to download, and no legal advice: the licence text at
its address decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LICENCES", "Licence"]


@dataclass(frozen=True)
class Licence:
    """Terms of one data set.

    Attributes:
        name: as it is known, short.
        allows: what may be done.
        forbids: what may not be done, or what must be done.
        address: where the text or its owner is found; empty where there is nothing to read.
    """

    name: str
    allows: str
    forbids: str
    address: str = ""

    def text(self) -> str:
        """Some lines for people."""
        lines = [f"Licence   {self.name}", f"allows    {self.allows}", f"but       {self.forbids}"]
        return "\n".join([*lines, f"read      {self.address}"] if self.address else lines)


LICENCES: Mapping[str, Licence] = {
    "synthetic": Licence(
        name="Apache-2.0",
        allows="any use: the pictures are drawn by this package",
        forbids="figures measured on them say nothing about real roads",
    ),
    "image_folder": Licence(
        name="yours",
        allows="what the owner of the photographs allows",
        forbids="you answer for the rights, and for the people and number plates in the pictures",
    ),
    "natix": Licence(
        name="not published: ask NATIX before you use it",
        allows="nothing that we could find in writing; the data set's page may say more by now",
        forbids="without a licence no right to copy, train on or share it is given. It contains "
        "images of CMU ROADWork, whose ODC-BY asks for attribution",
        address="https://huggingface.co/datasets/natix-network-org/roadwork",
    ),
    "cmu_roadwork": Licence(
        name="ODC-BY 1.0",
        allows="use, sharing and changes, commercial ones too",
        forbids="name ROADWork (Ghosh et al. 2024) wherever you use or share it or what was made "
        "from it. The part `discovered` holds images of BDD100K and Mapillary, under their terms",
        address="https://opendatacommons.org/licenses/by/1-0/",
    ),
    "mapillary": Licence(
        name="CC BY-NC-SA: no commercial use",
        allows="research and other non-commercial use, with attribution",
        forbids="no commercial use; what you adapt and share must carry the same licence. Whether "
        "a trained model is an adaptation is disputed: ask before you sell one",
        address="https://www.mapillary.com/dataset/vistas",
    ),
}
"""By kind of source."""
