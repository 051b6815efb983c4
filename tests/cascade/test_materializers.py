"""The cascade's artifacts survive the way through a store; the report shows its page."""

from __future__ import annotations

from materializers.cascade import CascadeReportMaterializer, CertifiedCascadeMaterializer
from roadwork.cascade.certified import CertifiedCascade
from roadwork.cascade.record import CascadeReport
from tests.cascade.test_judge import certified, report, stages
from tests.materializers.test_materializers import RemoteStore

__all__ = ["stages"]  # a fixture


def test_a_certified_cascade_travels_whole() -> None:
    store, data = RemoteStore(), certified()
    way = CertifiedCascadeMaterializer("store://artifact", artifact_store=store)  # pyright: ignore
    way.save(data)
    found = way.load(CertifiedCascade)
    assert found.content_hash == data.content_hash == way.compute_content_hash(data)
    assert way.describe(data)["guarantee"] == data.exits.model.guarantee
    names = store.files()
    assert "content/stages/cascade.safetensors" in names
    assert {f"content/{part}/exposure.bin" for part in ("stages", "exits")} <= set(names)
    assert all(name.endswith((".json", ".safetensors", ".bin")) for name in names)


def test_the_report_is_shown_as_its_page() -> None:
    store, data = RemoteStore(), report()
    way = CascadeReportMaterializer("store://artifact", artifact_store=store)  # pyright: ignore
    way.save(data)
    assert way.load(CascadeReport) == data
    shown = {
        name.rsplit("/", 1)[-1]: str(kind) for name, kind in way.save_visualizations(data).items()
    }
    assert shown == {"cascade.html": "html", "cascade.json": "json"}
    assert store.objects["store://artifact/cascade.html"].decode() == data.html
    assert way.describe(data) == data.figures
