"""The predictor: photographs in, answers out, from a sealed bundle and one engine.

The same code answers one photograph and a million, on the command line and in the service: decode,
cut into views, run the engine, calibrate, build the prediction set, decide or defer. Needs numpy,
Pillow, pydantic and the package of one engine.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from roadwork.bundle import ModelBundle
from roadwork.conformal.rows import Rows, content_id
from roadwork.data.decode import UnreadableImage, decode_image
from roadwork.data.views import make_views
from roadwork.engines import Engine, Logits, Views, choose_engine
from roadwork.errors import ParityError

__all__ = ["ImageInput", "Prediction", "Predictor", "SelfTest"]

ImageInput = bytes | Path | Image.Image
"""An encoded image, a file that holds one, or a decoded image."""

_PNG_MODES = frozenset({"1", "I", "I;16", "L", "LA", "P", "RGBA"})


class Prediction(BaseModel):
    """One answer; the service's API describes its fields with these words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probability: float = Field(description="Calibrated probability of the positive class.")
    label: str = Field(description="Name of the class decided on.")
    prediction_set: tuple[str, ...] = Field(
        description="Names of the classes that cannot be excluded; may be none."
    )
    coverage: float = Field(
        description="How often the set holds the true class at least, as the bundle guarantees it."
    )
    defer: bool = Field(
        description="Whether a person should look: true unless the set holds the label alone."
    )
    stage: int = Field(
        default=1, description="Which stage of the model answered; 1 when there is one alone."
    )
    model: str = Field(description="Hash of the bundle.")
    latency_ms: float = Field(description="Milliseconds from the encoded image to this answer.")


class SelfTest(BaseModel):
    """Result of a self-test that passed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    max_probability_difference: float
    engine: str


class Predictor:
    """Answers photographs with a bundle; may be shared by threads."""

    def __init__(
        self, bundle: ModelBundle | Path | str, engine: str | Engine = "auto", threads: int = 0
    ) -> None:
        """Open the model.

        Args:
            bundle: an opened bundle, or its folder.
            engine: a name in ``roadwork.engines.ENGINES``, ``"auto"``, or an opened engine.
            threads: CPU threads of the engine; 0 takes all.

        Raises:
            BundleError: the bundle cannot be opened.
            ConfigError: the engine may not answer here.
        """
        self.bundle = bundle if isinstance(bundle, ModelBundle) else ModelBundle.open(bundle)
        if isinstance(engine, str):
            engine = choose_engine(self.bundle, engine, threads)
        self.engine = engine
        self._preprocessor = self.bundle.preprocessor
        self._config = self.bundle.config
        self._policy = self.bundle.policy
        self._calibrator = self.bundle.calibrator
        self._conformal = self.bundle.conformal
        self._coverage = round(1.0 - self._conformal.alpha, 12)

    def predict(self, images: Sequence[ImageInput]) -> list[Prediction]:
        """Answer every image, or none.

        Raises:
            UnreadableImage: the first image that cannot be used, by its position and its file.
        """
        answers: list[Prediction] = []
        for index, (image, answer) in enumerate(
            zip(images, self.predict_each(images), strict=True)
        ):
            if isinstance(answer, UnreadableImage):
                where = f"image {index}" + (f" ({image})" if isinstance(image, Path) else "")
                raise UnreadableImage(answer.reason, f"{where}: {answer.detail}")
            answers.append(answer)
        return answers

    def predict_each(self, images: Iterable[ImageInput]) -> Iterator[Prediction | UnreadableImage]:
        """Answer image after image; one that cannot be used gives its reason in place."""
        for image in images:
            start = time.perf_counter()
            try:
                views = self.views(image)
            except UnreadableImage as error:
                yield error
                continue
            yield self._answer(self.engine.run(views[None]), self._row(image), start)

    def views(self, image: ImageInput) -> Views:
        """Views uint8 (V, S, S, 3) of one image, as the bundle specifies them.

        Raises:
            UnreadableImage: with the reason.
        """
        limit = self._preprocessor.max_megapixels
        if not isinstance(image, Image.Image):
            decoded = decode_image(image, limit)
        elif image.mode in _PNG_MODES:
            # Through the one decoder, so that transparency and depth mean the same as in a file.
            buffer = io.BytesIO()
            ImageOps.exif_transpose(image).save(buffer, "PNG", compress_level=1)
            decoded = decode_image(buffer.getvalue(), limit)
        else:
            decoded = ImageOps.exif_transpose(image).convert("RGB")
        return make_views(decoded, self._preprocessor.size, self._preprocessor.tiles)

    def logits(self, images: Iterable[ImageInput]) -> Logits:
        """Logits float32 (N, K), for those who evaluate the bundle; N may be 0.

        Raises:
            UnreadableImage: the first image that cannot be used.
        """
        rows = [self.engine.run(self.views(image)[None]) for image in images]
        return np.concatenate([np.empty((0, len(self._config.classes)), np.float32), *rows])

    def probabilities(self, logits: Logits) -> NDArray[np.float64]:
        """Calibrated probabilities (N, K) of logits (N, K)."""
        return self._calibrator.transform(logits)

    def self_test(self) -> SelfTest:
        """Answer the bundle's golden pictures and compare with the evaluated model.

        Raises:
            ParityError: an answer differs by more than the bundle tolerates.
        """
        golden = self.bundle.golden()
        logits = self.logits(self.bundle.read(case.file) for case in golden.cases)
        expected = self.probabilities(np.array([case.logits for case in golden.cases]))
        differences = np.abs(self.probabilities(logits) - expected).max(axis=1)
        worst = int(differences.argmax())
        if not differences[worst] <= golden.max_probability_difference:
            raise ParityError(
                f"the self-test of the {self.bundle.title} failed with {self.engine.name}: "
                f"{golden.cases[worst].file} has a probability that differs by "
                f"{differences[worst]:.2g} from that of the evaluated model, more than "
                f"{golden.max_probability_difference:.2g}: use another engine, or export again"
            )
        return SelfTest(
            images=len(golden.cases),
            max_probability_difference=float(differences[worst]),
            engine=self.engine.name,
        )

    def _row(self, image: ImageInput) -> Rows | None:
        """Identity of the image, where its set is drawn by it; that of a file is its content's."""
        if not self._conformal.needs_ids:
            return None
        if isinstance(image, Image.Image):
            data = f"{image.mode} {image.size}".encode() + image.tobytes()
        else:
            data = image.read_bytes() if isinstance(image, Path) else image
        return Rows(ids=np.array([content_id(data)], dtype=np.uint64))

    def _answer(self, logits: Logits, row: Rows | None, start: float) -> Prediction:
        probabilities = self.probabilities(logits)
        members = self._conformal.predict_set(probabilities, row)
        names, positive = self._config.classes, self._config.positive
        decided = self._policy.decide(probabilities, positive)
        return Prediction(
            probability=float(probabilities[0, positive]),
            label=names[decided[0]],
            prediction_set=tuple(names[k] for k in np.flatnonzero(members[0])),
            coverage=self._coverage,
            defer=bool(self._policy.defers(members, decided)[0]),
            model=self.bundle.hash,
            latency_ms=round((time.perf_counter() - start) * 1e3, 3),
        )
