"""StreetVision: histories computed by hand, torchvision and scikit-learn as oracles."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import accuracy_score, matthews_corrcoef, precision_score

from roadwork.data.manifest import TestSet
from roadwork.errors import ConfigError, DataError
from roadwork.evaluation.streetvision import (
    ChallengeMaker,
    RewardHistory,
    augment,
    best_threshold,
    encode_query,
    logit,
    simulate,
)
from roadwork.evaluation.streetvision.distortions import DISTORTIONS
from roadwork.evaluation.streetvision.replay import Sequences, replay, resample_groups
from roadwork.evaluation.streetvision.reward import decide, reward_paths
from roadwork.evaluation.streetvision.threshold import crossed_thresholds, halve_groups
from tests.bundle.make_bundle import jpeg
from tests.data.made import row, table


def earn(*steps: tuple[float | None, int]) -> list[float]:
    history = RewardHistory()
    return [history.add(answer, label).reward for answer, label in steps]


# Rewards


def test_a_history_by_hand() -> None:
    history = RewardHistory()
    first = history.add(0.9, 1)  # one class alone: MCC 0, accuracy 1
    assert (first.mcc, first.accuracy, first.reward) == (0.0, 1.0, 0.125)
    assert first.score == pytest.approx(0.05 * 0.125)
    second = history.add(0.1, 0)  # both right: (0.5 + 0.5)^3
    assert second.reward == 1.0
    assert second.score == pytest.approx(0.05 + 0.95 * 0.00625)
    third = history.add(0.5, 1)  # rounds to 0: TP 1, FN 1, FP 0, TN 1
    assert third.mcc == pytest.approx(1 / 2)  # (1 * 1 - 0) / sqrt(2 * 1 * 1 * 2)
    assert third.accuracy == pytest.approx(2 / 3)
    assert third.reward == pytest.approx((7 / 12) ** 3)
    fourth = history.add(None, 0)  # no answer: nothing earned, metrics as before
    assert (fourth.reward, fourth.mcc) == (0.0, third.mcc)
    assert fourth.score == pytest.approx(0.95 * third.score)
    fifth = history.add(1.2, 1)  # invalid, yet it rounds to 1 and counts as a hit
    assert fifth.reward == 0.0
    assert fifth.accuracy == pytest.approx(3 / 4)
    assert fifth.mcc == pytest.approx(2 / math.sqrt(3 * 1 * 2 * 2))  # TP 2, FN 1, FP 0, TN 1
    assert history.add(0.0, 0).reward == pytest.approx(
        (0.5 * 4 / math.sqrt(3 * 2 * 2 * 3) + 0.5 * 4 / 5) ** 3
    )


def test_a_negative_correlation_is_no_loss() -> None:
    rewards = earn((0.9, 0), (0.1, 1), (0.9, 1))  # TP 1, FN 1, FP 1, TN 0: MCC -0.5
    assert rewards == pytest.approx([0.0, 0.0, (0.5 / 3) ** 3])


def test_half_is_none_by_either_rounding() -> None:
    assert decide([0.5, np.nextafter(0.5, 1), 0.49]).tolist() == [False, True, False]
    assert earn((0.5, 0)) == [0.125]
    assert earn((0.5, 1)) == [0.0]


def test_accuracy_forgets_after_ten_and_the_correlation_after_a_hundred() -> None:
    history = RewardHistory()
    history.add(0.9, 0)  # the only mistake
    for number in range(9):
        last = history.add(number % 2, number % 2)
    assert last.accuracy == 0.9
    assert history.add(1.0, 1).accuracy == 1.0
    assert history.add(0.0, 0).mcc < 1.0
    for number in range(88):
        last = history.add(number % 2, number % 2)
    assert last.mcc < 1.0  # the hundredth
    assert history.add(0.0, 0).mcc == 1.0


def test_a_missing_answer_takes_a_place_in_both_windows() -> None:
    history = RewardHistory()
    history.add(0.9, 0)
    history.add(0.9, 1)
    for _ in range(8):
        history.add(None, 1)
    assert history.add(0.9, 1).accuracy == 1.0  # of two answers among the last ten
    for _ in range(10):
        last = history.add(-1.0, 0)
    assert (last.accuracy, last.reward) == (0.0, 0.0)
    for _ in range(89):
        last = history.add(None, 1)
    assert last.mcc == 0.0


@pytest.mark.parametrize("wild", [1.5, -0.7, 7.0, math.nan, math.inf])
def test_an_answer_that_rounds_to_no_class_breaks_its_windows(wild: float) -> None:
    history = RewardHistory()
    history.add(0.9, 1)
    assert history.add(wild, 0).reward == 0.0
    for number in range(9):
        assert history.add(number % 2, number % 2).reward == 0.0
    # The ten are free of it, the hundred are not: 0.5^3.
    assert history.add(0.0, 0).reward == 0.125


def test_a_label_is_zero_or_one() -> None:
    with pytest.raises(DataError, match="label 0 or 1"):
        RewardHistory().add(0.5, 2)


def expected_rewards(answers: Sequence[float], labels: Sequence[int]) -> list[float]:
    """The subnet's rules, with scikit-learn's metrics as it calls them."""

    def metrics(end: int, window: int) -> tuple[float, float]:
        start = max(0, end - window)
        kept = [k for k in range(start, end) if answers[k] != -1]
        predictions = np.round([answers[k] for k in kept])
        truth = np.array([labels[k] for k in kept])
        if not kept:
            return 0.0, 0.0
        try:
            accuracy = accuracy_score(truth, predictions)
            precision_score(truth, predictions, zero_division=0)
            both = len(np.unique(truth)) > 1 and len(np.unique(predictions)) > 1
            mcc = max(0.0, matthews_corrcoef(truth, predictions)) if both else 0.0
        except ValueError:
            return 0.0, 0.0
        return float(mcc), float(accuracy)

    rewards = []
    for end, answer in enumerate(answers, start=1):
        mcc, accuracy = metrics(end, 100)[0], metrics(end, 10)[1]
        valid = answer != -1 and not (answer < 0 or answer > 1)
        rewards.append((0.5 * mcc + 0.5 * accuracy) ** 3 if valid else 0.0)
    return rewards


@pytest.mark.parametrize("seed", range(3))
def test_rewards_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=112).tolist()
    answers = np.clip(rng.normal(0.25 + 0.5 * np.array(labels), 0.3), 0, 1)
    answers[rng.random(112) < 0.1] = -1.0
    if seed >= 1:  # short runs of one label with wild answers, too
        answers[rng.random(112) < 0.02] = rng.choice([1.5, -0.6, 1.2, -0.4])
        labels[40:60] = [1] * 20
    found = earn(*zip(answers.tolist(), labels, strict=True))
    assert found == pytest.approx(expected_rewards(answers.tolist(), labels))


def test_one_wild_value_among_ones_of_label_one_is_binary_to_scikit_learn() -> None:
    answers, labels = [0.9, 2.0, 0.8, 3.0, 0.9], [1, 1, 1, 1, 1]
    found = earn(*zip(answers, labels, strict=True))
    assert found == pytest.approx(expected_rewards(answers, labels))
    assert found[2] == pytest.approx((0.5 * 2 / 3) ** 3)
    assert found[4] == 0.0


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=140))
def test_many_histories_at_once_earn_the_same(steps: list[tuple[float, int]]) -> None:
    answers, labels = np.array(steps).T
    found = reward_paths(np.stack([decide(answers), decide(1 - answers, 0.3)]), labels)
    flipped = [(float(d), int(y)) for d, y in zip(1 - answers > 0.3, labels, strict=True)]
    assert found[0] == pytest.approx(earn(*((a, int(y)) for a, y in steps)))
    assert found[1] == pytest.approx(earn(*flipped))


# Pictures


def scene(width: int = 160, height: int = 90) -> Image.Image:
    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(160, 90), (91, 160), (301, 300), (640, 360)])
@pytest.mark.parametrize("level", [0, 1])
def test_crops_are_those_of_torchvision(size: tuple[int, int], level: int) -> None:
    from torchvision import transforms
    from torchvision.transforms import functional

    image = scene(*size)
    pixels, made = augment(image, level, np.random.default_rng(sum(size)))
    left, top, right, bottom = made.box
    if level == 0:
        cropped = transforms.CenterCrop(min(size))(image)
        tensor = transforms.ToTensor()(transforms.Resize((224, 224))(cropped))
    else:
        tensor = functional.resized_crop(
            functional.rotate(transforms.ToTensor()(image), made.angle),
            top,
            left,
            bottom - top,
            right - left,
            [224, 224],
            antialias=True,
        )
    expected = np.asarray(transforms.ToPILImage()(tensor)).astype(int)
    difference = np.abs(pixels.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05  # values within rounding of a whole number


def test_crops_have_the_size_and_place_that_they_should() -> None:
    image = scene(300, 300)
    made = [augment(image, 1, np.random.default_rng(k))[1] for k in range(200)]
    shares = np.array([(one.box[2] - one.box[0]) ** 2 / 300**2 for one in made])
    angles = np.array([one.angle for one in made])
    assert 0.195 < shares.min() < 0.23 and 0.96 < shares.max() <= 1.0
    assert shares.mean() == pytest.approx(0.6, abs=0.05)
    assert -20 <= angles.min() < -17 and 17 < angles.max() <= 20
    for one in made:
        left, top, right, bottom = one.box
        assert min(left, top) >= 0 and right <= 300 and bottom <= 300
        assert right - left == bottom - top
    wide = [augment(scene(160, 90), 1, np.random.default_rng(k))[1] for k in range(60)]
    assert max((one.box[2] - one.box[0]) ** 2 / (160 * 90) for one in wide) <= 0.5625
    # No square of a fifth of the area fits: the whole height in the middle.
    assert augment(scene(600, 60), 1, np.random.default_rng(0))[1].box == (270, 0, 330, 60)


@pytest.mark.parametrize("level", range(4))
def test_pictures_are_never_flipped(level: int) -> None:
    halves = np.zeros((200, 200, 3), np.uint8)
    halves[:, :100, 0] = 240  # red on the left
    halves[100:, :, 2] = 240  # blue below
    for seed in range(20):
        pixels, _ = augment(Image.fromarray(halves), level, np.random.default_rng(seed))
        means = pixels.astype(float)
        columns, rows = means[..., 0].mean(axis=0), means[..., 2].mean(axis=1)
        assert columns[:20].mean() >= columns[-20:].mean()
        assert rows[:20].mean() <= rows[-20:].mean()


def test_levels_have_their_distortions() -> None:
    image = scene()
    for level, names in (
        (0, set()),
        (1, set()),
        (2, {"saturation", "contrast", "downsample"}),
        (3, set(DISTORTIONS)),
    ):
        made = [augment(image, level, np.random.default_rng(k))[1] for k in range(40)]
        found = {name for one in made for name, _ in one.distorted}
        strengths = {strength for one in made for _, strength in one.distorted}
        assert found == names
        assert strengths == ({1, 2} if level == 3 else {1} if level == 2 else set())


# Hashes of what OpenCV 4.12 makes of the picture below through the subnet's own functions, with
# the random numbers of numpy's generator 5.
OF_OPENCV = [
    ("saturation", 0.4, "1f4d86cd275b88b2"),
    ("saturation", 0.3, "14c5e85e18b178eb"),
    ("contrast", 0.85, "54914bc4ae9ebb34"),
    ("contrast", 0.725, "7a3da17c8f7bc915"),
    ("downsample", 2, "a84459ef428e4775"),
    ("downsample", 3, "aa4292f5d63d5c6b"),
    ("noise", 0.001, "13b524797a0f56d7"),
    ("noise", 0.002, "ba99369fbee998bb"),
    ("blur", 7, "6ce8f2a03b67f578"),
    ("blur", 9, "eb77583ec0d9044f"),
]


@pytest.mark.parametrize(("name", "strength", "expected"), OF_OPENCV)
def test_distortions_are_those_of_opencv(name: str, strength: float, expected: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (30, 24, 3), dtype=np.uint8)
    assert strength in DISTORTIONS[name].strengths
    found = DISTORTIONS[name].apply(pixels, strength, np.random.default_rng(5))
    assert found.shape == pixels.shape
    assert hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()[:16] == expected


def test_distortions_by_hand() -> None:
    grey = np.full((24, 24, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    assert set(DISTORTIONS["contrast"].apply(grey, 0.85, rng).ravel()) == {85}
    assert set(DISTORTIONS["downsample"].apply(grey, 2, rng).ravel()) == {100}
    assert set(DISTORTIONS["blur"].apply(grey, 7, rng).ravel()) == {100}
    assert set(DISTORTIONS["saturation"].apply(grey, 0.4, rng).ravel()) == {99, 100}
    noisy = DISTORTIONS["noise"].apply(np.full((200, 200, 3), 128, np.uint8), 0.001, rng)
    # Of luma alone: sqrt(0.001) * 255 * 255 / 219; green has some of both colour differences.
    assert noisy.mean(axis=(0, 1)) == pytest.approx([127.5] * 3, abs=0.5)
    assert noisy[..., 1].std() == pytest.approx(9.39 * math.hypot(1, 0.775), rel=0.05)


# Challenges


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> TestSet:
    return pictures(tmp_path_factory.mktemp("photographs"), groups=12)


def pictures(folder: Path, groups: int, name: str = "photo") -> TestSet:
    """Two pictures a group: reddish ones show roadwork, bluish ones none; some lie between."""
    rows = []
    for number in range(2 * groups):
        label = number % 2
        red = (95, 165)[label] + 7 * (number // 2 % 9 - 4)
        path = folder / f"{name}-{number}.jpg"
        path.write_bytes(jpeg(red, 255 - red))
        rows.append(row(number, f"{name}-{number // 2}", label, uri=str(path), file=path.name))
    return TestSet(table(rows))


def by_colour(steep: float, offset: float = 0.0) -> Callable[[bytes], float]:
    def predict(query: bytes) -> float:
        pixels = np.asarray(Image.open(io.BytesIO(query)), dtype=float)
        means = pixels.mean(axis=(0, 1))
        return 1 / (1 + math.exp(-steep * (means[0] - means[2]) / 255 - offset))

    return predict


def test_a_challenge_is_a_jpeg_of_224_pixels_and_depends_on_its_number_alone(
    photographs: TestSet,
) -> None:
    maker = ChallengeMaker(photographs)
    made = [maker.make(1, number) for number in range(60)]
    again = [ChallengeMaker(photographs).make(1, number) for number in reversed(range(60))]
    assert made == again[::-1]
    assert maker.make(2, 0) != made[0]
    assert len({one.query for one in made}) > 50
    default = io.BytesIO()
    Image.new("RGB", (8, 8)).save(default, "JPEG", quality=75)
    for one in made[:8]:
        query = Image.open(io.BytesIO(one.query))
        assert (query.format, query.size, query.mode) == ("JPEG", (224, 224), "RGB")
        assert query.quantization == Image.open(default).quantization
    labels = dict(zip(photographs.files, photographs.labels.tolist(), strict=True))
    assert all(labels[one.file] == one.label and not one.synthetic for one in made)


def test_labels_levels_and_pictures_are_drawn_alike(photographs: TestSet) -> None:
    maker = ChallengeMaker(photographs)
    made = [maker.make(0, number) for number in range(240)]
    assert np.mean([one.label for one in made]) == pytest.approx(0.5, abs=0.1)
    levels = np.bincount([one.augmentation.level for one in made], minlength=4) / 240
    assert levels == pytest.approx([0.25] * 4, abs=0.1)
    assert len({one.file for one in made}) == len(photographs)


def test_a_photograph_was_stored_as_jpeg_before(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
    rows = []
    for label, name in enumerate(("a.jpg", "b.png")):
        noise.save(tmp_path / name, **({"quality": 100} if label == 0 else {}))
        rows.append(row(label, name, label, uri=str(tmp_path / name), file=name))
    maker = ChallengeMaker(TestSet(table(rows)))
    centred = [one for one in (maker.make(0, n) for n in range(30)) if not one.augmentation.level]
    queries = {one.file: one.query for one in centred}
    once = Image.open(tmp_path / "a.jpg")
    buffer = io.BytesIO()
    once.save(buffer, "JPEG", quality=75)
    twice = np.asarray(Image.open(buffer).convert("RGB"))
    assert queries["a.jpg"] == encode_query(twice) != encode_query(np.asarray(once))
    assert queries["b.png"] == encode_query(np.asarray(noise))


def test_synthetic_pictures_take_their_share(photographs: TestSet, tmp_path: Path) -> None:
    drawn = pictures(tmp_path, groups=3, name="drawn")
    maker = ChallengeMaker(photographs, drawn, 0.5)
    made = [maker.make(0, number) for number in range(100)]
    assert np.mean([one.synthetic for one in made]) == pytest.approx(0.5, abs=0.15)
    assert all(one.file.startswith("drawn") == one.synthetic for one in made)
    with pytest.raises(ConfigError, match="share"):
        ChallengeMaker(photographs, drawn, 1.5)


def test_pictures_that_cannot_be_used_are_named(photographs: TestSet, tmp_path: Path) -> None:
    one = TestSet(table([row(0, label=1), row(1, label=1)]))
    with pytest.raises(DataError, match="all of one label"):
        ChallengeMaker(one)
    gone = TestSet(table([row(0, uri=str(tmp_path / "0.jpg")), row(1, uri=str(tmp_path / "1"))]))
    with pytest.raises(DataError, match=r"[01]\.jpg cannot be read"):
        ChallengeMaker(gone).make(0, 0)
    (tmp_path / "0.jpg").write_bytes(b"text")
    (tmp_path / "1").write_bytes(b"text")
    with pytest.raises(DataError, match="no image"):
        ChallengeMaker(gone).make(0, 0)


# Thresholds


def test_the_best_threshold_by_hand() -> None:
    # Above 0.7: both positives, no negative. Midway in the logit between 0.7 and 0.8.
    found = best_threshold([0.2, 0.6, 0.7, 0.8, 0.9], [0, 0, 0, 1, 1])
    middle = (math.log(7 / 3) + math.log(4)) / 2
    assert logit(found) == pytest.approx(middle)
    assert best_threshold([0.2, 0.4, 0.6, 0.8], [0, 0, 1, 1]) == pytest.approx(0.5)
    assert best_threshold([0.3, 0.3], [0, 1]) == pytest.approx(0.5)
    with pytest.raises(DataError, match="both labels"):
        best_threshold([0.2, 0.4], [1, 1])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(10, 990), st.integers(0, 1)), min_size=4, max_size=25))
def test_no_threshold_is_better(pairs: list[tuple[int, int]]) -> None:
    answers, labels = np.array([p / 1000 for p, _ in pairs]), np.array([y for _, y in pairs])
    if labels.min() == labels.max():
        return
    weights = np.where(labels == 1, 1 / (labels == 1).sum(), 1 / (labels == 0).sum())

    def mcc(threshold: float) -> float:
        said = answers > threshold
        if said.all() or not said.any():
            return 0.0
        return float(matthews_corrcoef(labels, said, sample_weight=weights))

    found = mcc(best_threshold(answers, labels))
    # The largest answer as threshold would say "none" of everything.
    assert found >= max((mcc(t) for t in answers if t < answers.max()), default=0.0) - 1e-9


def test_halves_share_no_group_and_hold_both_labels() -> None:
    groups = np.repeat(np.arange(10), 5)
    labels = (groups % 2).astype(np.int64)
    halves = halve_groups(groups, labels, seed=0)
    assert halves is not None
    for half in (0, 1):
        assert set(labels[halves[groups] == half].tolist()) == {0, 1}
    assert halve_groups(np.array([0, 0, 1]), np.array([0, 1, 1]), seed=0) is None


def test_a_half_is_decided_by_the_threshold_of_the_other() -> None:
    answers = np.array([0.6, 0.8, 0.1, 0.3])
    labels, half = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    first, second = crossed_thresholds(answers, labels, half)
    assert first == pytest.approx(best_threshold([0.1, 0.3], [0, 1]))
    assert second == pytest.approx(best_threshold([0.6, 0.8], [0, 1]))


# Replays and the simulation


def test_a_replay_of_known_answers() -> None:
    labels = np.array([0, 1, 0, 1])
    said = np.array([[False, True, False, True], [True, True, True, True]])
    found = replay(said, labels, Sequences(40, 400), seed=0)
    assert found is not None
    assert found[0] == 1.0
    # Always "roadwork": MCC 0, so E[(a / 2)^3] with ten times a binomial: (m^3 + 3 m v + 0) / 8.
    assert found[1] == pytest.approx((0.125 + 3 * 0.5 * 0.025) / 8, abs=0.003)
    assert replay(said, np.ones(4, np.int64), Sequences(2, 120), seed=0) is None


def test_groups_are_resampled_whole_and_alike_for_all_models() -> None:
    labels = np.tile([0, 1], 20)
    groups = np.repeat(np.arange(10), 4)
    right = labels == 1
    wrong_in_half = np.where(groups < 5, right, ~right)
    found = resample_groups(
        np.stack([right, wrong_in_half, wrong_in_half]), labels, groups, Sequences(1, 200), 50, 0
    )
    assert (found.rewards[:, 0] == 1.0).all()
    assert (found.rewards[:, 1] == found.rewards[:, 2]).all()
    assert found.rewards[:, 1].std() > 0.05
    alone = resample_groups(right[None], labels, labels, Sequences(1, 150), 60, 0)
    # Two groups of one label each: half of the draws hold one of them twice.
    assert 15 < alone.skipped < 45
    assert len(alone.rewards) == 60 - alone.skipped


def test_models_are_ranked_on_the_same_challenges(photographs: TestSet) -> None:
    models = {
        "blind": lambda query: 0.5,
        "sharp": by_colour(20.0),
        "shifted": by_colour(20.0, -4.0),
    }
    found = simulate(models, photographs, challenges=150, seeds=2, resamples=50)
    assert [model.name for model in found.models] == ["sharp", "shifted", "blind"]
    sharp, shifted, blind = found.models
    assert sharp.reward > 0.85 > shifted.reward > blind.reward
    assert blind.mcc is None and blind.accuracy == pytest.approx(0.5, abs=0.06)
    assert blind.reward == pytest.approx(0.02, abs=0.01)
    assert sharp.reward == pytest.approx(np.mean(sharp.by_seed))
    assert len(sharp.by_seed) == 2
    assert sharp.low is not None and sharp.high is not None
    assert sharp.low <= sharp.reward <= sharp.high + 1e-9
    assert found.differences[0].difference == pytest.approx(shifted.reward - sharp.reward)
    assert found.differences[1].high is not None and found.differences[1].high < 0
    assert sum(part.challenges for part in sharp.levels) == 300
    assert [part.name for part in sharp.origins] == ["photographs"]
    # What the shift took away, the threshold gives back, on groups it was not chosen on.
    choice = shifted.threshold
    assert choice.gain is not None and choice.low is not None
    assert choice.gain > 0.1 and choice.low > 0
    assert choice.threshold == pytest.approx(1 / (1 + math.exp(4)), rel=0.9)
    assert choice.shift == pytest.approx(-math.log(choice.threshold / (1 - choice.threshold)))
    assert any("diffusion" in note for note in found.notes)
    assert found.groups == 12
    assert any("12 groups" in note for note in found.notes)
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_the_same_simulation_twice_and_its_rewards_again(photographs: TestSet) -> None:
    maker, predict = ChallengeMaker(photographs), by_colour(3.0, 0.4)
    asked: list[int] = []
    first, second = (
        simulate(
            {"one": predict},
            photographs,
            challenges=110,
            seeds=1,
            resamples=5,
            update=lambda done, total: asked.append(done),
        )
        for _ in range(2)
    )
    assert first == second
    assert asked == [*range(1, 111)] * 2
    challenges = [maker.make(0, number) for number in range(110)]
    history = RewardHistory()
    earned = [history.add(predict(one.query), one.label) for one in challenges]
    assert first.models[0].reward == pytest.approx(np.mean([one.reward for one in earned[100:]]))
    assert first.models[0].score == pytest.approx(earned[-1].score)
    for number, part in enumerate(first.models[0].levels):
        ours = [one for one in challenges if one.augmentation.level == number]
        hits = [(predict(one.query) > 0.5) == bool(one.label) for one in ours]
        assert (part.challenges, part.accuracy) == (len(ours), pytest.approx(np.mean(hits)))


def test_one_group_has_no_interval(tmp_path: Path) -> None:
    found = simulate(
        {"one": by_colour(5.0)}, pictures(tmp_path, groups=1), challenges=105, seeds=1, resamples=5
    )
    model = found.models[0]
    assert found.reason is not None and "single group" in found.reason
    assert (model.low, model.high, model.threshold.gain) == (None, None, None)
    assert model.threshold.reason is not None and "halved" in model.threshold.reason


def test_synthetic_pictures_are_counted_apart(photographs: TestSet, tmp_path: Path) -> None:
    found = simulate(
        {"one": by_colour(5.0)},
        photographs,
        challenges=120,
        seeds=1,
        resamples=5,
        synthetic=pictures(tmp_path, groups=3, name="drawn"),
    )
    assert [part.name for part in found.models[0].origins] == ["photographs", "synthetic pictures"]
    assert (found.synthetic_pictures, found.synthetic_share) == (6, 0.5)
    assert not any("diffusion" in note for note in found.notes)


@pytest.mark.parametrize("answer", [1.2, -1.0, math.nan])
def test_an_answer_that_is_no_probability_is_refused(photographs: TestSet, answer: float) -> None:
    with pytest.raises(DataError, match=r"odd answered .* photo-\d+\.jpg"):
        simulate({"odd": lambda query: answer}, photographs, challenges=101, seeds=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"challenges": 100}, "more than 100"),
        ({"seeds": 0}, "at least one seed"),
        ({"resamples": 0}, "resample"),
    ],
)
def test_too_little_is_refused(photographs: TestSet, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate({"one": by_colour(1.0)}, photographs, **changes)


def test_nobody_to_ask(photographs: TestSet) -> None:
    with pytest.raises(ConfigError, match="no model"):
        simulate({}, photographs)
