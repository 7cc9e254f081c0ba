"""Curation as a job: stages, options, resumption, processes, bad input."""

import io
import json
import multiprocessing
import random
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segplugins.files.faults import FaultError
from segplugins.files.jobs import OtherJob
from segplugins.projects.cocu.curation import embed, job, stages
from segplugins.projects.cocu.curation.archives import read_lines
from segplugins.projects.cocu.curation.embed import ShardSet, find_shards
from segplugins.projects.cocu.curation.job import Curation
from segplugins.projects.cocu.curation.options import ArchiveOptions
from segplugins.projects.cocu.curation.page import shown_images, write_page
from segplugins.projects.cocu.curation.work import Work

ROOT = Path(__file__).resolve().parents[2]
WORDS = ("dog", "grass", "sky", "boat", "cattle", "cat")


class ColourEmbedder:
    """Red, green and blue of a picture; a text is the mean colour of its words' numbers."""

    fingerprint, width, has_text = "colours", 3, True

    def images(self, pictures):
        rows = np.stack([picture.reshape(-1, 3).mean(axis=0) + 1 for picture in pictures])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)

    def texts(self, texts):
        rows = np.array([np.random.default_rng(list(text.encode())).random(3) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def embedder(monkeypatch):
    monkeypatch.setattr(job, "load_embedder", lambda *given: ColourEmbedder())


def jpeg(colour):
    file = io.BytesIO()
    Image.new("RGB", (10, 8), colour).save(file, format="PNG")
    return file.getvalue()


def write_tar(path, samples):
    with tarfile.open(path, "w") as archive:
        for key, image, caption in samples:
            for name, content in ((f"{key}.png", image), (f"{key}.txt", caption.encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def make_shards(folder, shards=3, each=4):
    """Pictures of drifting colours; captions name one or two of the words."""
    folder.mkdir(exist_ok=True)
    for shard in range(shards):
        samples = []
        for number in range(each):
            place = shard * each + number
            caption = f"a {WORDS[place % 6]} and a {WORDS[(place // 2) % 6]}"
            colour = (20 * place % 256, 90 * place % 256, 250 - 15 * place)
            samples.append((f"{place:04d}", jpeg(colour), caption))
        write_tar(folder / f"part-{shard}.tar", samples)
    return ShardSet(sorted(map(str, folder.glob("*.tar"))), None)


def curate(shards, out, faults="strict", index=(), embeddings=None, **options):
    work = Work(
        shards, embeddings or out / "embeddings", out / "archive", faults=faults, index=index
    )
    options = {"vocabulary": ", ".join(WORDS), "neighbours": 3, **options}
    curation = Curation(work, ArchiveOptions(**options))
    curation.run()
    return curation


def lines_of(curation):
    return [line for path in curation.files("cluster") for line in read_lines(path)]


def contents(folder):
    """Every file below a folder but claims, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.parts)
    }


def test_concepts_come_from_the_captions_of_the_nearest_images(tmp_path):
    shards = make_shards(tmp_path / "data")
    curation = curate(shards, tmp_path / "out", clusters=2)
    lines = lines_of(curation)
    assert [line["key"] for line in lines] == [f"{number:04d}" for number in range(12)]
    rows = np.concatenate([np.load(path) for path in curation.files("embed")]).astype(np.float32)
    captions = [
        sample["captions"][0]
        for name in curation.names
        for sample in embed.read_samples(curation.work.embeddings, name)
    ]
    embedder = ColourEmbedder()
    for row, line in zip(rows, lines):
        near = np.argsort(-(rows @ row), kind="stable")[:3]
        holders = {
            word: [place for place in near if word in captions[place].split()] for word in WORDS
        }
        held = {word: places for word, places in holders.items() if places}
        assert set(line["concepts"]) == set(held)
        cosine = {
            word: [*(rows[[*places]] @ embedder.texts([f"a photo of a {word}"])[0])]
            for word, places in held.items()
        }
        own = {word: float(row @ embedder.texts([f"a photo of a {word}"])[0]) for word in held}
        highest = max(max(own.values()), *(max(values) for values in cosine.values()))
        for word, score, count in zip(line["concepts"], line["scores"], line["references"]):
            mean = (own[word] + sum(cosine[word])) / (1 + len(cosine[word]))
            assert score == pytest.approx(own[word] / highest + own[word] / mean, abs=2e-3)
            assert count == len(held[word])
        assert line["scores"] == sorted(line["scores"], reverse=True)
        assert set(line["clusters"]) == set(range(min(2, len(held))))


def test_an_archive_is_the_same_from_any_number_of_runs_and_stages(tmp_path):
    shards = make_shards(tmp_path / "data")
    curation = curate(shards, tmp_path / "one")
    work = Work(shards, tmp_path / "two" / "embeddings", tmp_path / "two" / "archive")
    options = ArchiveOptions(vocabulary=", ".join(WORDS), neighbours=3)
    for stage in stages.STAGES:
        again = Curation(work, options)
        again.run([stage])
        assert all(path.is_file() for path in again.files(stage))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    times = {
        tmp_path / "one" / name: (tmp_path / "one" / name).stat().st_mtime_ns
        for name in contents(tmp_path / "one")
    }
    Curation(curation.work, curation.options).run()
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())


def curate_slowly(shards, out, log, ready):
    """A process of its own; it notes the shards that it has embedded."""
    embed_shard = stages.embed_shard

    def noted(*given, **options):
        time.sleep(0.05)
        embed_shard(*given, **options)
        with open(log, "a") as file:
            file.write(given[1] + "\n")

    stages.embed_shard = noted
    ready.wait()
    curate(shards, out)


def started_pair(*given):
    """Two forked processes, which begin together."""
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(3)
    pair = [context.Process(target=curate_slowly, args=(*given, ready)) for _ in range(2)]
    for process in pair:
        process.start()
    ready.wait(60)
    return pair


def test_killed_at_random_points_and_shared_by_two_the_files_are_those_of_one_run(tmp_path):
    """Two processes at a time; each pair but the last is killed, one of them a moment later."""
    shards = make_shards(tmp_path / "data", shards=12, each=2)
    curate(shards, tmp_path / "plain")
    draw, log, out = random.Random(0), tmp_path / "log", tmp_path / "killed"
    for _ in range(2):
        pair = started_pair(shards, out, log)
        for process in pair:
            time.sleep(draw.uniform(0.0, 0.4))
            process.kill()
        for process in pair:
            process.join()
    for process in (pair := started_pair(shards, out, log)):
        process.join(120)
        assert process.exitcode == 0
    assert contents(out) == contents(tmp_path / "plain")
    written = log.read_text().splitlines()
    # A shard is embedded once; once more only where a kill fell between its end and this note.
    assert set(written) <= set(shards.shards) and len(written) == len(set(written))


def test_another_model_or_vocabulary_or_option_is_refused(tmp_path, monkeypatch):
    shards = make_shards(tmp_path / "data")
    curate(shards, tmp_path / "out")
    with pytest.raises(OtherJob, match="archive' was begun by another job: vocabulary is"):
        curate(shards, tmp_path / "out", vocabulary="dog, sky")
    with pytest.raises(OtherJob, match="neighbours is 2, was 3"):
        curate(shards, tmp_path / "out", neighbours=2)
    monkeypatch.setattr(ColourEmbedder, "fingerprint", "others")
    with pytest.raises(OtherJob, match='embedder is "others", was "colours"'):
        curate(shards, tmp_path / "out")
    with pytest.raises(ValueError, match="was embedded by model colours, these images by others"):
        curate(shards, tmp_path / "third", index=[tmp_path / "out" / "embeddings"])
    monkeypatch.undo()
    monkeypatch.setattr(job, "load_embedder", lambda *given: ColourEmbedder())
    write_tar(tmp_path / "data" / "part-9.tar", [("9000", jpeg((1, 2, 3)), "a dog")])
    more = ShardSet(sorted(map(str, (tmp_path / "data").glob("*.tar"))), None)
    with pytest.raises(OtherJob, match="embeddings' was begun by another job: shards"):
        curate(more, tmp_path / "out")


def test_archives_share_embeddings_and_take_neighbours_of_other_sets(tmp_path):
    shards = make_shards(tmp_path / "data")
    first = curate(shards, tmp_path / "first")
    (tmp_path / "other").mkdir()
    write_tar(tmp_path / "other" / "x.tar", [("x", jpeg((200, 10, 10)), "nothing of interest")])
    other = ShardSet([str(tmp_path / "other" / "x.tar")], None)
    folder = first.work.embeddings
    curation = curate(other, tmp_path / "second", index=[folder])
    (line,) = lines_of(curation)
    assert line["concepts"] and set(line["concepts"]) <= set(WORDS)
    naive = curate(shards, tmp_path / "third", embeddings=folder, ranking="naive")
    scores = [line["scores"] for line in lines_of(naive)]
    assert all(max(row) <= 1.001 for row in scores)


def test_fewer_rows_than_neighbours_asked_for(tmp_path, caplog):
    shards = make_shards(tmp_path / "data", shards=1, each=2)
    curation = curate(shards, tmp_path / "out", neighbours=5)
    assert "the index has 2 rows, fewer than the 5 neighbours asked for" in caplog.text
    rows = np.load(curation.files("retrieve")[0])
    assert (rows >= 0).sum(axis=1).tolist() == [2, 2] and rows.shape == (2, 5)
    assert all(max(line["references"]) <= 2 for line in lines_of(curation))


def test_an_image_may_be_left_out_of_its_own_neighbours(tmp_path):
    shards = make_shards(tmp_path / "data", shards=2, each=3)
    near = np.concatenate(
        [np.load(path) for path in curate(shards, tmp_path / "a").files("retrieve")]
    )
    apart = np.concatenate(
        [
            np.load(path)
            for path in curate(shards, tmp_path / "b", exclude_self=True).files("retrieve")
        ]
    )
    assert near[:, 0].tolist() == list(range(6))
    assert not (apart == np.arange(6)[:, None]).any() and (apart >= 0).all()


def test_captions_without_a_concept_give_empty_records(tmp_path):
    (tmp_path / "data").mkdir()
    samples = [(str(n), jpeg((n, 9, 9)), "what a lovely morning") for n in range(3)]
    write_tar(tmp_path / "data" / "a.tar", samples)
    shards = ShardSet([str(tmp_path / "data" / "a.tar")], None)
    curation = curate(shards, tmp_path / "out")
    assert [line["concepts"] for line in lines_of(curation)] == [[], [], []]
    assert [line["clusters"] for line in lines_of(curation)] == [[], [], []]
    assert curation.summary()["without_concepts"] == 3
    with pytest.raises(ValueError, match="3 captions hold no name in 5 of them or more"):
        curate(shards, tmp_path / "built", vocabulary="")


def test_nothing_to_curate_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no file \['none/\*.tar'\]"):
        find_shards(["none/*.tar"])
    write_tar(tmp_path / "empty.tar", [])
    shards = find_shards(["empty.tar"])
    with pytest.raises(ValueError, match="holds no sample"):
        curate(shards, tmp_path / "out")


def test_shards_of_one_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for folder in ("a", "b"):
        make_shards(tmp_path / folder, shards=1)
    with pytest.raises(ValueError, match="two shards of .* are called 'part-0'"):
        find_shards(["*/*.tar"])


@pytest.mark.parametrize(
    "samples, message",
    [
        ([("1", b"no picture", "a dog")], "its image cannot be read"),
        ([("0", jpeg((1, 1, 1)), "a cat"), ("2", jpeg((0, 0, 0)), "a dog")], "the key '0'"),
    ],
)
def test_samples_that_cannot_be_used_stop_or_are_left_out_and_counted(
    tmp_path, samples, message, caplog
):
    (tmp_path / "data").mkdir()
    first = [("0", jpeg((200, 0, 0)), "a dog"), ("3", jpeg((0, 99, 0)), "a cat")]
    write_tar(tmp_path / "data" / "a.tar", first + samples)
    shards = ShardSet([str(tmp_path / "data" / "a.tar")], None)
    with pytest.raises(FaultError, match=f"{message}.*--faults skip"):
        curate(shards, tmp_path / "strict")
    curation = curate(shards, tmp_path / "skip", faults="skip")
    assert curation.summary()["left_out"] == 1
    assert "1 samples left out" in caplog.text
    keys = [line["key"] for line in lines_of(curation)]
    assert keys == ["0", "3"] + [key for key, *_ in samples if key == "2"]


def test_captions_as_neighbours_and_the_images_own_concepts(tmp_path):
    shards = make_shards(tmp_path / "data")
    curation = curate(
        shards, tmp_path / "lang", expansion="lang", ranking="naive", exclude_self=True
    )
    for line in lines_of(curation):
        assert len(line["captions"]) == 3
        words = {word for caption in line["captions"] for word in caption.split()}
        assert set(line["concepts"]) == words & set(WORDS)
    own = curate(shards, tmp_path / "none", expansion="none", ranking="naive")
    for number, line in enumerate(lines_of(own)):
        assert set(line["concepts"]) == {WORDS[number % 6], WORDS[(number // 2) % 6]}
        assert set(line["references"]) == {0}


def test_letters_within_a_name_count_as_in_the_released_code(tmp_path):
    (tmp_path / "data").mkdir()
    samples = [
        ("0", jpeg((200, 0, 0)), "a cat"),
        ("1", jpeg((190, 0, 0)), "a cattle"),
        ("2", jpeg((180, 0, 0)), "a dog"),
    ]
    write_tar(tmp_path / "data" / "a.tar", samples)
    shards = ShardSet([str(tmp_path / "data" / "a.tar")], None)
    counts = {}
    for substring in (False, True):
        curation = curate(shards, tmp_path / f"out{substring}", substring=substring)
        line = lines_of(curation)[0]
        counts[substring] = dict(zip(line["concepts"], line["references"]))
    assert counts[False] == {"cat": 1, "cattle": 1, "dog": 1}
    assert counts[True] == {"cat": 2, "cattle": 1, "dog": 1}


def test_half_as_many_clusters_as_concepts(tmp_path):
    curation = curate(make_shards(tmp_path / "data"), tmp_path / "out", clusters=0)
    for line in lines_of(curation):
        count = len(line["concepts"])
        assert len(set(line["clusters"])) == (-(-count // 2) if count > 2 else count)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"expansion": "sound"}, "expansion is 'sound', expected one of"),
        ({"expansion": "lang"}, "ranking 'vision' compares with retrieved images"),
        ({"neighbours": 0}, "the first two start at 1"),
        ({"ranking": "best"}, "ranking is 'best'"),
        ({"index": "hnsw"}, "index is 'hnsw', expected one of"),
    ],
)
def test_options_outside_their_range(options, message):
    with pytest.raises(ValueError, match=message):
        ArchiveOptions(**options)


def test_the_page_shows_captions_concepts_and_neighbours(tmp_path):
    curation = curate(make_shards(tmp_path / "data"), tmp_path / "out")
    shown = shown_images(curation, 3)
    assert [item.captions for item in shown] == [
        ["a dog and a dog"],
        ["a dog and a boat"],
        ["a cat and a cat"],
    ]
    for item in shown:
        assert len(item.neighbours) == 3
        assert {name for name, _, own in item.concepts if own} <= set(item.captions[0].split())
    write_page(tmp_path / "page.html", shown, "a <title>")
    text = (tmp_path / "page.html").read_text()
    assert "a &lt;title&gt;" in text and text.count("<img") == 3 * 4 and "dog and a boat" in text
    with Image.open(tmp_path / "page.png") as page:
        assert page.size[0] > 600
    write_page(tmp_path / "none.html", [], "nothing")
    assert not (tmp_path / "none.png").exists()


def test_lines_are_json_with_the_place_in_the_shard_first(tmp_path):
    curation = curate(make_shards(tmp_path / "data"), tmp_path / "out")
    for line in curation.files("cluster")[0].read_text().splitlines():
        assert line.startswith('{"at": ') and json.loads(line)["at"] % 512 == 0
