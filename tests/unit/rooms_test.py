#!/usr/bin/python3
"""Holds the includes in src/ against the table of rooms in src/README.md."""

import pathlib
import re
import unittest

SRC = pathlib.Path(__file__).resolve().parents[2] / "src"
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)/` \| (\w+|–) \|.*\| ([^|]+) \|$", re.MULTILINE)

# Which rooms may include what is not ours.
LIBRARY_HOMES = {"rocksdb/": {"store"}, "curl/": {"net", "kubo"}}
# The domain is deterministic: no I/O, no threads, no random source (src/README.md says why).
DOMAIN_FORBIDDEN = re.compile(r"^(boost/asio|curl/|rocksdb/|systemd/|sys/|unistd\.h|poll\.h|fstream|filesystem|thread|random)")


def table(text):
    """{room: layer} and {room: rooms it may include}, followed along the table."""
    layers, direct, whole = {}, {}, {}
    for room, layer, cell in ROW.findall(text):
        layers[room] = layer
        # "`x`'s wire part" allows x itself but not what x may use.
        direct[room] = set(re.findall(r"`(\w+)`", cell))
        whole[room] = set(re.findall(r"`(\w+)`(?!')", cell))
        if cell.strip() == "all":
            direct[room] = whole[room] = {"*"}

    def reach(room, seen):
        for below in whole[room] - {"*"} - seen:
            seen.add(below)
            reach(below, seen)
        return seen

    may_use = {room: direct[room] | reach(room, set()) for room in direct}
    for room, used in may_use.items():
        if "*" in used:
            may_use[room] = set(direct)
    return layers, may_use


def complaints(room, name, text, layers, may_use):
    """What is wrong with the includes of one file."""
    for include in INCLUDE.findall(text):
        target = include.split("/")[0] if "/" in include else None
        if target in may_use and target != room and target not in may_use[room]:
            yield f"{name}: {include}: {room} may not use {target}"
        for library, homes in LIBRARY_HOMES.items():
            if include.startswith(library) and room not in homes:
                yield f"{name}: {include}: only in {', '.join(sorted(homes))}"
        if layers[room] == "domain" and DOMAIN_FORBIDDEN.match(include):
            yield f"{name}: {include}: the domain reaches the outside only through its ports"


class Rooms(unittest.TestCase):
    def setUp(self):
        self.layers, self.may_use = table((SRC / "README.md").read_text())

    def files(self):
        for path in sorted(SRC.rglob("*")):
            if path.suffix in (".h", ".cpp"):
                yield path.relative_to(SRC)

    def test_every_room_has_a_row(self):
        folders = {path.parts[0] for path in self.files()}
        self.assertTrue(folders)
        self.assertEqual(folders - set(self.layers), set())

    def test_the_table_names_only_rooms(self):
        named = set().union(*self.may_use.values())
        self.assertEqual(named - set(self.layers), set())

    def test_arrows_only_point_down(self):
        for room, used in self.may_use.items():
            if room != "app":
                self.assertNotIn(room, used, "a circle")

    def test_includes_follow_the_table(self):
        found = []
        for path in self.files():
            text = (SRC / path).read_text()
            found += complaints(path.parts[0], path, text, self.layers, self.may_use)
        self.assertEqual(found, [], "\n" + "\n".join(found))


class TheCheckItself(unittest.TestCase):
    """It can fail."""

    TABLE = """
| `app/` | top | main | all |
| `ctl/` | interface | tool | `rpc`'s wire part, `base` |
| `rpc/` | interface | wire | `list` |
| `list/` | domain | nodes | `base` |
| `store/` | infrastructure | disk | `list` |
| `base/` | – | words | – |
"""

    def complain(self, room, include):
        layers, may_use = table(self.TABLE)
        return list(complaints(room, "file.h", f"  #include {include}\n", layers, may_use))

    def test_allows(self):
        for room, include in (("app", '"store/a.h"'), ("rpc", '"base/a.h"'), ("ctl", '"rpc/a.h"'), ("list", '"list/a.h"'),
                              ("store", "<rocksdb/db.h>"), ("list", "<vector>"), ("rpc", "<sys/socket.h>")):
            self.assertEqual(self.complain(room, include), [], (room, include))

    def test_refuses(self):
        for room, include in (("list", '"rpc/a.h"'), ("ctl", '"list/a.h"'), ("base", '"list/a.h"'),
                              ("app", "<rocksdb/db.h>"), ("store", "<curl/curl.h>"), ("list", "<fstream>")):
            self.assertEqual(len(self.complain(room, include)), 1, (room, include))


if __name__ == "__main__":
    unittest.main()
