"""Files made to kill or hang the process that reads them end as errors of one line."""

# ruff: noqa: E501
import json
import subprocess
import sys
import textwrap

import pytest

# Child: memory and processor time are capped once everything is imported.
CHILD = """
    import json, pickle, resource, struct, sys, zlib
    from pathlib import Path

    from segplugins.files.coco import read_instances
    from segplugins.files.coco_panoptic import read_panoptic
    from segplugins.files.faults import STRICT
    from segplugins.files.label_maps import read_label_map
    from segplugins.files.lines import read_region_lines
    from segplugins.files.panoptic_ids import read_segment_ids
    from segplugins.files.pictures import read_picture
    from segplugins.files.refs import read_refs
    from segplugins.structures.regions import Task

    folder = Path(sys.argv[1])
    virtual = int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (virtual + 2**30,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (90, 90))

    ANNOTATION = (
        '{"id": 1, "image_id": 1, "category_id": 7, "bbox": BOX, "segmentation": MASK, "area": AREA}'
    )
    FILE = (
        '{"images": [{"id": ID, "file_name": "1.png", "height": HEIGHT, "width": 10}], '
        '"categories": [{"id": 7, "name": "cat"}], "annotations": [ANNOTATION]}'
    )
    PLAIN = dict(BOX="[1, 1, 4, 4]", MASK="null", AREA="16", ID="1", HEIGHT="8")

    def instances(**values):
        text = FILE.replace("ANNOTATION", ANNOTATION)
        for key, value in {**PLAIN, **values}.items():
            text = text.replace(key, value)
        (folder / "set.json").write_text(text)
        return lambda: read_instances(folder / "set.json")

    def text(content, read=read_instances):
        (folder / "set.json").write_text(content)
        return lambda: read(folder / "set.json")

    def line(**region):
        values = {"text": "a", "box": "null", "mask": "null", "height": "8", **region}
        (folder / "set.jsonl").write_text(
            '{"file_name": "1.png", "height": %(height)s, "width": 10, "regions": '
            '[{"text": "%(text)s", "box": %(box)s, "mask": %(mask)s}]}' % values
        )
        return lambda: read_region_lines(folder / "set.jsonl", task=Task.REFERRING)

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    def png(read, width, height, depth=8, colour=0):
        header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
        data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(2**20))) + chunk(b"IEND", b"")
        (folder / "p.png").write_bytes(bytes([137]) + b"PNG" + bytes([13, 10, 26, 10]) + data)
        return lambda: read(folder / "p.png", STRICT)

    def tiff(width, height):
        tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1),
                (278, height), (279, width * height % 2**32)]
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        data = b"II*" + bytes(1) + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
        (folder / "p.tif").write_bytes(data)
        return lambda: read_picture(folder / "p.tif", STRICT)

    def refs(data):
        (folder / "refs.p").write_bytes(data)
        return lambda: read_refs(folder / "refs.p", folder / "set.json")

    laughs = b"(" + b"]" + b"".join(b"(" + b"2" * 10 + b"l" for _ in range(40)) + b"."
    deep, digits, long = 10**6, "1" * 10**6, "9" * 5000
    polygon = "[[%s, 1, 5, 1, 5, 5]]"
    CASES = {
        "NaN in a box": lambda: instances(BOX="[NaN, 1, 4, 4]"),
        "infinity in a box": lambda: instances(BOX="[1, 1, Infinity, 4]"),
        "1e999 in a box": lambda: instances(BOX="[1, 1, 1e999, 4]"),
        "NaN in a polygon": lambda: instances(MASK=polygon % "NaN"),
        "infinity in a polygon": lambda: instances(MASK=polygon % "-Infinity"),
        "1e999 in a polygon": lambda: instances(MASK=polygon % "1e999"),
        "1e9 in a polygon": lambda: instances(MASK=polygon % "1e9"),
        "1e308 in a polygon": lambda: instances(MASK=polygon % "1e308"),
        "an endless number in a polygon": lambda: instances(MASK=polygon % long),
        "an endless area": lambda: instances(AREA=long),
        "a short RLE": lambda: instances(MASK='{"size": [8, 10], "counts": [5]}'),
        "a long RLE": lambda: instances(MASK='{"size": [8, 10], "counts": [%d, %d]}' % (2**62, 2**62)),
        "an RLE that goes around": lambda: instances(
            MASK='{"size": [8, 10], "counts": [%d, %d, %d]}' % (2**63 - 1, 2**63 - 1, 82)
        ),
        "a negative RLE": lambda: instances(MASK='{"size": [8, 10], "counts": [-5, 85]}'),
        "an RLE of a huge size": lambda: instances(MASK='{"size": [%d, %d], "counts": [5]}' % (2**31, 2**31)),
        "a long text as RLE": lambda: instances(MASK='{"size": [8, 10], "counts": "%s"}' % ("o" * deep)),
        "a huge picture in the file": lambda: instances(HEIGHT=str(10**9)),
        "a huge height": lambda: instances(HEIGHT=digits[:4000]),
        "an id of a million digits": lambda: instances(ID='"%s"' % digits),
        "an id that is a number of a million digits": lambda: instances(ID=digits),
        "an id of many letters": lambda: instances(ID='["%s"]' % ("a" * deep)),
        "deep lists": lambda: text("[" * deep),
        "deep lists, closed": lambda: text("[" * deep + "]" * deep),
        "a deep mask": lambda: instances(MASK="[" * deep + "]" * deep),
        "deep mappings": lambda: text('{"images": ' * 10**5 + "1" + "}" * 10**5),
        "deep segments": lambda: text("[" * deep, read_panoptic),
        "zeros": lambda: text(chr(0) * deep),
        "NaN in a line": lambda: line(box="[NaN, 1, 4, 4]"),
        "1e9 in a line": lambda: line(mask=polygon % "1e9"),
        "a long RLE in a line": lambda: line(mask='{"counts": [%d, 5]}' % 2**62),
        "a deep line": lambda: line(mask="[" * deep + "]" * deep),
        "a line of a huge size": lambda: line(height=str(10**12)),
        "a huge PNG": lambda: png(read_picture, 2**31 - 1, 2**31 - 1),
        "a large PNG of little": lambda: png(read_picture, 60_000, 60_000, colour=2),
        "a huge label map": lambda: png(read_label_map, 100_000, 100_000),
        "a huge map of segments": lambda: png(read_segment_ids, 100_000, 100_000, colour=2),
        "a huge TIFF": lambda: tiff(10**6, 10**6),
        "a pickle that calls": lambda: refs(pickle.dumps([{"sentences": eval}])),
        "a pickle of lists of lists": lambda: refs(laughs),
        "a pickle of a huge text": lambda: refs(b"\\x80\\x04\\x8d" + struct.pack("<Q", 2**40) + b"a."),
    }
    for name, prepare in CASES.items():
        read = prepare()
        try:
            read()
            answer = ["read", ""]
        except BaseException as error:
            answer = [",".join(each.__name__ for each in type(error).__mro__), str(error)]
        print(json.dumps([name, *answer]), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What reading each hostile file ended with: names of the error's classes, and its message."""
    folder = tmp_path_factory.mktemp("hostile")
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (lines[-1:], done.stderr[-1000:])
    return lines


@pytest.mark.skipif(sys.platform != "linux", reason="memory is capped by Linux")
def test_every_hostile_file_ends_in_an_error_of_one_line(answers):
    assert len(answers) >= 40
    wrong = {
        name: (kinds[:60], message[:200])
        for name, kinds, message in answers
        if "ValueError" not in kinds.split(",") or "\n" in message or not 0 < len(message) < 1000
    }
    assert wrong == {}
