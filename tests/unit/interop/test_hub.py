"""Push and pull against a Hub on this machine: what arrives, what survives a cut, who sees it."""

from __future__ import annotations

import json
import shutil

import hub_server
import pytest
import tiny_hub
from hub_server import Fault

import yaongi
from yaongi.core.artifact import MANIFEST, draft, open_artifact, partial_path, trace
from yaongi.core.errors import ArtifactError, CapabilityError, ConfigError, DataError, HubError
from yaongi.data.shards import ShardsConfig, build_shards
from yaongi.interop import hub_client, hub_files, hub_pull
from yaongi.interop.hf import import_hf
from yaongi.interop.hub import plan_push, push
from yaongi.interop.hub_client import Repo, parse_repo
from yaongi.interop.hub_pull import pull

REPO = Repo("me/small")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_hub.artifacts(tmp_path_factory.mktemp("made"))


@pytest.fixture
def hub(monkeypatch):
    with tiny_hub.local_hub(monkeypatch) as found:
        yield found


def sent(path, **options):
    return push(plan_push(path, REPO, **options))


def stored(hub, kind="model", name="me/small"):
    return hub.repos[kind, name]


# --- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["base", "tokenizer", "corpus", "adapter", "hf", "peft", "export"])
def test_what_is_pulled_is_the_artifact_that_was_pushed(kind, made, hub, tmp_path):
    done = sent(made[kind])
    found = pull(REPO, tmp_path / "got")
    ours, theirs = open_artifact(made[kind]), open_artifact(tmp_path / "got")
    assert theirs.hash == ours.hash
    assert theirs.manifest.kind == ours.manifest.kind
    theirs.verify()
    where = "hf://datasets/me/small" if kind == "corpus" else "hf://me/small"
    assert found.repo.uri == theirs.manifest.origin == f"{where}@{done.commit}"
    assert [node.hash for _d, node in trace(tmp_path / "got")] == [
        node.hash for _d, node in trace(made[kind])
    ]
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"got"}, "nothing lies beside it"
    assert not (tmp_path / "got" / ".cache").exists()


def test_a_pulled_model_generates_what_the_pushed_one_does(made, hub, tmp_path):
    sent(made["base"])
    pull(REPO, tmp_path / "got")
    answers = [
        yaongi.load(p).generate("안녕", max_tokens=8) for p in (made["base"], tmp_path / "got")
    ]
    assert answers[0] == answers[1]


def test_a_pulled_corpus_makes_the_same_shards(made, hub, tmp_path):
    sent(made["corpus"])
    pull(REPO, tmp_path / "got")
    corpus, tok = open_artifact(tmp_path / "got"), open_artifact(made["tokenizer"])
    again = build_shards(ShardsConfig(), corpus, tok, tmp_path / "shards")
    assert again.hash == open_artifact(made["shards"]).hash


def test_texts_that_cleaning_took_out_stay_at_home(made, hub, tmp_path):
    assert "rejected.jsonl.zst" in open_artifact(made["corpus"]).manifest.files
    sent(made["corpus"])
    assert "rejected.jsonl.zst" not in stored(hub, "dataset").files
    pull(REPO, tmp_path / "got")
    assert not (tmp_path / "got" / "rejected.jsonl.zst").exists()


def learnt(made, out):
    """The base, as GRPO would leave it: with what it was asked and said beside it."""
    base = open_artifact(made["base"])
    with draft(out, "grpo", config={}, parents=[base]) as work:
        shutil.copytree(base.path, work.path, dirs_exist_ok=True)
        (work.path / MANIFEST).unlink()
        (work.path / "rollouts").mkdir()
        for i in range(3):
            (work.path / "rollouts" / f"{i:06}.jsonl.zst").write_bytes(b"asked and said")
        return work.finish().path


def test_rollouts_stay_at_home_unless_asked_for(made, hub, tmp_path):
    path = learnt(made, tmp_path / "grpo")
    (path / "notes.txt").write_text("mine")
    plan = plan_push(path, REPO)
    assert any("Not part of the artifact" in n and "notes.txt" in n for n in plan.notes)
    push(plan)
    assert not any(name.startswith("rollouts") for name in stored(hub).files)
    got = pull(REPO, tmp_path / "got").artifact
    assert got.hash == open_artifact(path).hash
    assert any("rollouts/ (3 files)" in note for note in plan.notes)
    assert any("--rollouts" in note for note in plan.notes)
    again = plan_push(got.path, REPO).notes  # which has none to send, and a card of its own
    assert not any("--rollouts" in note or "README" in note for note in again)
    sent(path, rollouts=True)
    assert stored(hub).files["rollouts/000002.jsonl.zst"]
    assert "notes.txt" not in stored(hub).files


def test_a_pull_that_finds_everything_says_so(made, hub, tmp_path):
    sent(made["base"])
    assert pull(REPO, tmp_path / "got").fetched
    assert not pull(REPO, tmp_path / "got").fetched


def test_no_bars_where_nobody_looks(monkeypatch):
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars

    for terminal in (True, False):
        enable_progress_bars()
        monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)  # noqa: B023
        hub_client.connect()
        assert are_progress_bars_disabled() is not terminal


def test_a_gguf_file_takes_its_ancestry_along(made, hub, tmp_path):
    sent(made["gguf"], made_from=made["base"])
    pull(REPO, tmp_path / "got")
    assert (tmp_path / "got" / "model.gguf").read_bytes() == made["gguf"].read_bytes()
    assert open_artifact(made["base"]).hash in [n.hash for _d, n in trace(tmp_path / "got")]


def test_folders_of_this_machine_are_not_told(made, hub, tmp_path):
    sent(made["base"])
    text = stored(hub).files[MANIFEST].data.decode()
    assert str(made["base"].parent) not in text
    assert str(made["base"].parent) in (made["base"] / MANIFEST).read_text("utf-8")


def test_shards_and_other_raw_memory_are_refused(made, hub):
    with pytest.raises(ArtifactError, match="shards"):
        plan_push(made["shards"], REPO)


# --- what is there already -----------------------------------------------------------------------


def test_a_second_push_sends_nothing(made, hub):
    first = sent(made["base"])
    hub.log.clear()
    second = sent(made["base"])
    assert (second.commit, second.sent) == (first.commit, [])
    assert sorted(second.there) == sorted(first.sent)
    assert hub.paths("PUT") == []
    assert not [path for path in hub.paths("POST") if "commit" in path]


def test_only_what_changed_is_sent(made, hub):
    sent(made["base"])
    hub.uploaded.clear()
    again = sent(made["base"], licence="mit")
    assert again.sent == ["README.md"]
    assert hub.uploaded == []


def test_files_of_the_artifact_before_do_not_stay(made, hub, tmp_path):
    sent(made["hf"])
    stored(hub).commit({**stored(hub).files, "note.txt": hub_server.Blob(b"mine", False)})
    sent(made["base"])
    names = set(stored(hub).files)
    assert "generation_config.json" in open_artifact(made["hf"]).manifest.files
    assert "generation_config.json" not in names
    assert "note.txt" in names, "what somebody else put there does"
    assert pull(REPO, tmp_path / "got").left == {"note.txt": "not in its manifest"}


def test_a_cut_push_leaves_the_repository_and_goes_on(made, hub):
    cut = Fault(lambda verb, path: verb == "PUT" and path == f"/lfs/{weights(made)}",
                cut_after=2000, times=99)  # fmt: skip
    hub.faults = [cut]
    with pytest.raises(HubError, match="run the same command again"):
        sent(made["base"])
    assert len(stored(hub).commits) == 1, "only the empty one"
    assert stored(hub).private
    before = list(hub.uploaded)
    assert before, "other large files got through"
    hub.faults = []
    sent(made["base"])
    assert hub.uploaded == [*before, weights(made)]
    assert len(stored(hub).commits) == 2


def weights(made):
    return open_artifact(made["base"]).manifest.files[WEIGHTS].sha256


def test_a_push_whose_answer_was_lost_is_one_commit(made, hub):
    hub.faults = [Fault(lambda verb, path: "/commit/" in path, status=502, after=True)]
    done = sent(made["base"])
    assert len(stored(hub).commits) == 2
    assert done.commit == stored(hub).commits[-1][0]


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("where", ["/api/repos/create", "/api/models/me/small", "/commit/", "/lfs"])
def test_a_hub_that_hiccups_is_asked_again(status, where, made, hub):
    hub.faults = [Fault(lambda verb, path: where in path, status=status, times=2)]
    sent(made["base"])
    assert WEIGHTS in stored(hub).files


def test_a_cut_pull_goes_on_where_it_stopped(made, hub, tmp_path):
    sent(made["base"])
    hub.log.clear()

    def is_weights(verb, path):
        return verb == "GET" and path.endswith(WEIGHTS)

    hub.faults = [Fault(is_weights, cut_after=5000), Fault(is_weights, status=500, times=99)]
    with pytest.raises(HubError, match="run the same command again"):
        pull(REPO, tmp_path / "got")
    assert not (tmp_path / "got").exists()
    assert partial_path(tmp_path / "got").is_dir()
    hub.faults, hub.log = [], []
    pull(REPO, tmp_path / "got")
    asked = [h["range"] for verb, path, h in hub.log if is_weights(verb, path)]
    assert asked == ["bytes=5000-"]
    assert not [p for p in hub.paths("GET") if p.endswith("tokenizer.json")], "it was whole"
    open_artifact(tmp_path / "got").verify()
    assert not partial_path(tmp_path / "got").exists()


def test_a_pull_of_what_is_here_fetches_nothing(made, hub, tmp_path):
    sent(made["base"])
    pull(REPO, tmp_path / "got")
    hub.log.clear()
    pull(REPO, tmp_path / "got")
    assert [p for p in hub.paths("GET") if "/resolve/" in p and MANIFEST not in p] == []
    sent(made["base"], licence="mit")  # another commit is something else
    with pytest.raises(ArtifactError, match="exists already"):
        pull(REPO, tmp_path / "got")


def test_a_revision_is_the_one_that_comes(made, hub, tmp_path):
    first = sent(made["base"])
    sent(made["hf"])
    found = pull(Repo("me/small", revision=first.commit), tmp_path / "old")
    assert found.repo.revision == first.commit
    assert open_artifact(tmp_path / "old").manifest.kind == "base"


# --- damage and strangers ------------------------------------------------------------------------


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "README.md"])
def test_other_bytes_than_listed_leave_nothing(name, made, hub, tmp_path):
    sent(made["base"])
    hub.lie = lambda file, data: flipped(data) if file == name else data
    with pytest.raises(HubError, match=f"{name} came from .* another content"):
        pull(REPO, tmp_path / "got")
    assert list(tmp_path.iterdir()) == []
    hub.lie = lambda file, data: data
    pull(REPO, tmp_path / "got")


def test_a_file_changed_behind_the_manifest_is_seen_before_it_is_fetched(made, hub, tmp_path):
    sent(made["base"])
    files = stored(hub).files
    evil = hub_server.Blob(flipped(files[WEIGHTS].data), True)
    stored(hub).commit({**files, WEIGHTS: evil})
    hub.log.clear()
    with pytest.raises(HubError, match="not what its manifest says"):
        pull(REPO, tmp_path / "got")
    assert not [p for p in hub.paths("GET") if p.endswith(WEIGHTS)]
    small = hub_server.Blob(flipped(files["config.json"].data), False)
    stored(hub).commit({**files, "config.json": small})  # the Hub's own hash fits, ours does not
    with pytest.raises(ArtifactError, match="damaged"):
        pull(REPO, tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


HOSTILE = {
    "../up.json": "leaves the folder",
    "a/../../up.json": "leaves the folder",
    "/etc/passwd": "not relative",
    "C:/autoexec.bat": "not relative",
    "a\\b.json": "not relative",
    ".git/config": "git",
    "sub/.GIT/hooks/post-checkout": "git",
    "a//b": "leaves the folder",
    "./a": "leaves the folder",
    ".cache/huggingface/x": "notes",
    "con": "Windows",
    "sub/NUL.json": "Windows",
    "lpt1.txt": "Windows",
    "what?.json": "Windows",
    "a:stream": "not relative",
    "file:stream": "Windows",
    "trailing.": "Windows",
    "trailing /x": "Windows",
    "model\u202etxt.exe": "nobody sees",
    "zero\u200bwidth": "nobody sees",
    "line\nbreak": "nobody sees",
    "nul\x00": "nobody sees",
    "x" * 300: "too long",
}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_stops_everything(name, hub, tmp_path):
    hub.add("evil/model", {"config.json": b"{}", name: b"x"})
    with pytest.raises(ArtifactError, match=HOSTILE[name]):
        pull(Repo("evil/model"), tmp_path / "got")
    assert not [p for p in hub.paths("GET") if "/resolve/" in p]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names", [("A.json", "a.json"), ("가.txt", "\u1100\u1161.txt"), ("a", "a/b")]
)
def test_names_that_are_one_file_elsewhere_are_refused(names, hub, tmp_path):
    hub.add("evil/model", dict.fromkeys(names, b"x"))
    with pytest.raises(ArtifactError, match="not safe"):
        pull(Repo("evil/model"), tmp_path / "got")


def test_names_in_a_manifest_are_strangers_words_too(made, hub, tmp_path):
    sent(made["base"])
    files = stored(hub).files
    manifest = json.loads(files[MANIFEST].data)
    manifest["files"]["../../x"] = {"bytes": 1, "sha256": "0" * 64}
    changed = hub_server.Blob(json.dumps(manifest).encode(), False)
    stored(hub).commit({**files, MANIFEST: changed})
    with pytest.raises(ArtifactError, match="leaves the folder"):
        pull(REPO, tmp_path / "got")


def foreign(made, hub, **more):
    """Somebody else's model: our export without its manifest."""
    files = {p.name: p.read_bytes() for p in made["hf"].iterdir() if p.name != MANIFEST}
    card = b"---\nlicense: llama3.2\n---\n# hi\n"
    hub.add("other/model", {"README.md": card, **files, **more})


def test_somebody_elses_model_imports_and_remembers_the_commit(made, hub, tmp_path):
    foreign(made, hub, **{"pytorch_model.bin": b"pickle", "training_args.bin": b"pickle"})
    found = pull(Repo("other/model"), tmp_path / "got")
    assert found.artifact.manifest.licences == ["llama3.2"]
    assert found.left == {
        "pytorch_model.bin": "can hide a program",
        "training_args.bin": "can hide a program",
    }
    assert not list((tmp_path / "got").glob("*.bin"))
    import_hf(tmp_path / "got", tmp_path / "imported")
    commit = stored(hub, name="other/model").commits[-1][0]
    rows = trace(tmp_path / "imported")
    assert [node.origin for _d, node in rows] == [None, f"hf://other/model@{commit}"]
    assert rows[0][1].licences == ["llama3.2"]


def test_somebody_elses_model_can_be_passed_on(made, hub, tmp_path):
    foreign(made, hub)
    pull(Repo("other/model"), tmp_path / "got")
    sent(tmp_path / "got")
    pull(REPO, tmp_path / "again")
    ours, theirs = open_artifact(tmp_path / "again"), open_artifact(tmp_path / "got")
    assert ours.hash == theirs.hash
    ours.verify()
    assert "license: llama3.2" in (tmp_path / "again" / "README.md").read_text("utf-8")


def test_weights_that_are_only_pickles_are_refused(hub, tmp_path):
    hub.add("other/model", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(ArtifactError, match="pickles"):
        pull(Repo("other/model"), tmp_path / "got")


def test_a_pickle_under_another_name_is_refused(hub, tmp_path):
    hub.add("other/model", {"config.json": b"{}", WEIGHTS: b"\x80\x04\x95pickle, not safetensors"})
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        pull(Repo("other/model"), tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_another_program_is_no_artifact(made, hub, tmp_path):
    foreign(made, hub, **{MANIFEST: b'{"name": "a web app"}'})
    assert pull(Repo("other/model"), tmp_path / "got").artifact.manifest.kind == "hub"


def test_parts_and_patterns(made, hub, tmp_path):
    gguf = made["gguf"].read_bytes()
    foreign(made, hub, **{"m-q8_0.gguf": gguf, "m-q4_k_m.gguf": gguf, "LICENSE": b"text"})
    repo = Repo("other/model")
    names = {only: set(pull(repo, tmp_path / "x", only=only, dry_run=True).files)
             for only in ("gguf", "tokenizer", "*q4_k_m.gguf")}  # fmt: skip
    assert names["gguf"] == {"m-q8_0.gguf", "m-q4_k_m.gguf", "LICENSE"}
    assert names["*q4_k_m.gguf"] == {"m-q4_k_m.gguf", "LICENSE"}
    assert {"tokenizer.json", "tokenizer_config.json"} <= names["tokenizer"]
    assert WEIGHTS not in names["tokenizer"]
    with pytest.raises(ArtifactError, match=r"no files for --only adapter.*m-q8_0\.gguf"):
        pull(repo, tmp_path / "x", only="adapter")
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_ours_keeps_its_ancestry(made, hub, tmp_path):
    sent(made["base"])
    pull(REPO, tmp_path / "got", only="tokenizer")
    rows = trace(tmp_path / "got")
    assert [node.kind for _d, node in rows[:3]] == ["hub", "base", "tokenizer"]
    assert rows[0][1].licences == open_artifact(made["base"]).manifest.licences
    assert not (tmp_path / "got" / WEIGHTS).exists()


def test_no_room_is_said_before_anything_is_fetched(made, hub, tmp_path, monkeypatch):
    sent(made["base"])
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(hub_pull.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(Exception, match=r"needs .*, and .* are free"):
        pull(REPO, tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


# --- who may, and who sees it --------------------------------------------------------------------


def test_it_is_private_unless_said_otherwise(made, hub):
    sent(made["base"])
    assert stored(hub).private
    created = [h for verb, path, h in hub.log if path == "/api/repos/create"]
    assert len(created) == 1


def test_it_becomes_public_only_when_it_is_whole(made, hub):
    hub.faults = [Fault(lambda verb, path: "/commit/" in path, status=400)]
    with pytest.raises(HubError, match="answered 400"):
        sent(made["base"], public=True, licence="apache-2.0")
    assert stored(hub).private
    sent(made["base"], public=True, licence="apache-2.0")
    assert not stored(hub).private


def test_a_private_push_does_not_go_where_everybody_looks(made, hub):
    hub.add("me/small", {"README.md": b"hi"})
    with pytest.raises(ConfigError, match="is public"):
        sent(made["base"])
    assert len(stored(hub).commits) == 1


@pytest.mark.parametrize(
    "token, told",
    [
        ("", "needs a token that may write"),
        ("hf_wrong", "does not know the token"),
        (hub_server.READER, "write permission"),
        ("hf_with a space", "characters that no token has"),
        ("hf_ko한글", "characters that no token has"),
    ],
)
def test_a_token_that_does_not_do(token, told, made, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=told) as caught:
        sent(made["base"])
    assert not token or token not in str(caught.value)
    assert hub.repos == {}


def test_the_token_goes_to_the_hub_only_as_a_header(made, hub):
    sent(made["base"])
    asked = [h.get("authorization") for _v, path, h in hub.log if path.startswith("/api")]
    assert set(asked) == {f"Bearer {hub_server.WRITER}"}
    assert hub_server.WRITER not in str([path for _v, path, _h in hub.log])


def test_a_token_around_which_somebody_left_spaces_works(made, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f" {hub_server.WRITER}\n")
    sent(made["base"])
    assert WEIGHTS in stored(hub).files


def test_without_a_token_private_ones_are_not_there(made, hub, tmp_path, monkeypatch):
    sent(made["base"])
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match=r"There is no me/small .*HF_TOKEN"):
        pull(REPO, tmp_path / "got")
    foreign(made, hub)
    pull(Repo("other/model"), tmp_path / "other")
    assert not [path for _v, path, h in hub.log if "other/model" in path and "authorization" in h]


def test_a_token_saved_by_another_program_is_not_used(made, hub, tmp_path, monkeypatch):
    from huggingface_hub import constants

    (tmp_path / "token").write_text(hub_server.WRITER)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="There is no"):
        pull(REPO, tmp_path / "got")
    assert not [h for _v, _p, h in hub.log if "authorization" in h]


def test_no_message_repeats_the_token(made, hub, caplog, capfd):
    hub.faults = [
        Fault(lambda verb, path: True, status=500, times=99, message=f"bad {hub_server.WRITER}")
    ]
    with pytest.raises(HubError) as caught:
        sent(made["base"])
    shown = f"{caught.value}{caplog.text}{''.join(capfd.readouterr())}"
    assert "bad ***" in str(caught.value)
    assert hub_server.WRITER not in shown.replace(f"bad {hub_server.WRITER}", "")
    assert hub_server.WRITER not in str(caught.value)


def test_what_is_not_there_is_named(made, hub, tmp_path):
    with pytest.raises(HubError, match="There is no me/nothing"):
        pull(Repo("me/nothing"), tmp_path / "got")
    foreign(made, hub)
    with pytest.raises(HubError, match="no revision v9"):
        pull(Repo("other/model", revision="v9"), tmp_path / "got")


def test_terms_that_have_to_be_accepted_are_said(hub, tmp_path):
    hub.faults = [Fault(lambda verb, path: True, status=403, times=9, code="GatedRepo")]
    with pytest.raises(HubError, match=r"accept its terms first: http.*/me/small"):
        pull(REPO, tmp_path / "got")


def test_a_repository_with_nothing_in_it(hub, tmp_path):
    hub.add("me/small", {".gitattributes": b"x"})
    with pytest.raises(ArtifactError, match="nothing that could be fetched"):
        pull(REPO, tmp_path / "got")


def test_a_hub_out_of_reach_is_said(made, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 cannot be reached"):
        sent(made["base"])
    with pytest.raises(HubError, match="cannot be reached"):
        pull(REPO, tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_is_no_hub_is_said(hub, tmp_path):
    hub.faults = [Fault(lambda verb, path: True, status=200, times=99)]
    with pytest.raises(HubError, match="does not answer as a Hub does"):
        pull(REPO, tmp_path / "got")
    assert len(hub.log) == 1, "asked once"


ROW = {"type": "file", "path": "a", "size": 1, "oid": "0" * 40}


@pytest.mark.parametrize(
    ("where", "answer"),
    [
        ("/api/models/evil/model", []),
        ("/api/models/evil/model", {"sha": None, "id": "evil/model"}),
        ("/api/models/evil/model", {"sha": "a", "id": "evil/model", "siblings": 5}),
        *(
            ("/tree/", rows)
            for rows in (3, ["x"], [{}], [{**ROW, "path": None}], [{**ROW, "size": -1}],
                         [{**ROW, "size": "1"}], [{**ROW, "oid": 7}], [{**ROW, "lfs": [1]}],
                         [{**ROW, "path": ["x"]}], [{**ROW, "lfs": {"oid": 5, "size": 1}}])
        ),
    ],
)  # fmt: skip
def test_answers_of_another_shape_are_no_hubs(where, answer, hub, tmp_path, monkeypatch):
    send = hub_server.Handler._send

    def other(self, status, content, headers=None):
        send(self, status, answer if where in self.path_only else content, headers)

    monkeypatch.setattr(hub_server.Handler, "_send", other)
    hub.add("evil/model", {"a": b"1"})
    with pytest.raises(HubError, match="does not answer as a Hub does"):
        pull(Repo("evil/model"), tmp_path / "got")
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_ours_is_not_the_hubs():
    def wrong():
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        hub_client.tried(wrong, REPO, None)


def test_a_manifest_that_is_no_text_is_none(made, hub, tmp_path):
    manifest = json.loads((made["base"] / MANIFEST).read_text())
    hub.add("evil/model", {MANIFEST: json.dumps(manifest | {"git_commit": "\ud800"}).encode(),
                           "config.json": b"{}"})  # fmt: skip
    assert pull(Repo("evil/model"), tmp_path / "got").artifact.manifest.kind == "hub"


def test_without_the_package_the_message_says_how_to_get_it(made, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CapabilityError, match="install"):
        plan_push(made["base"], REPO)


# --- licences ------------------------------------------------------------------------------------


def with_licences(folder, *licences, kind="source", origin=None):
    """A model that learnt from one source per licence."""
    from yaongi.core.artifact import Ancestor

    with draft(folder, "base", config={}) as work:
        shutil.copy(tiny_weights(folder.parent), work.path / WEIGHTS)
        (work.path / "config.json").write_text("{}")
        made = work.finish(licences=licences)
    nodes = [Ancestor(kind=kind, path=f"train/{i}.jsonl", hash=str(i), licences=[x], origin=origin)
             for i, x in enumerate(licences)]  # fmt: skip
    manifest = made.manifest.model_copy(update={"parents": nodes})
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(mode="json")))
    return folder


def tiny_weights(folder):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"w": np.zeros((2, 3), np.float32)}, folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.mark.parametrize(
    "licence, reason",
    [
        ("see the card", "No licence is stated"),
        ("", "No licence is stated"),
        ("AI-Hub agreement", "agreement"),
        ("MIT; GPT-4-generated", "provider"),
        ("CC-BY-NC-4.0", "Not for commercial use"),
        ("CC-BY-ND-4.0", "No derivatives"),
        ("my own words", "no licence known here"),
    ],
)
def test_licences_that_do_not_allow_it_are_named_with_their_source(licence, reason, tmp_path):
    model = with_licences(tmp_path / "m", "MIT", licence)
    with pytest.raises(DataError) as caught:
        plan_push(model, REPO, public=True, licence="mit")
    assert reason in str(caught.value)
    assert "train/1.jsonl" in str(caught.value)
    assert "train/0.jsonl" not in str(caught.value)
    plan_push(model, REPO, licence="mit")  # for oneself


def test_what_may_be_public_under_what(tmp_path):
    nc = with_licences(tmp_path / "nc", "CC-BY-NC-4.0")
    plan_push(nc, REPO, public=True, licence="cc-by-nc-4.0")
    free = with_licences(tmp_path / "free", "CC-BY-SA-4.0", "MIT", "공공누리 제1유형")
    plan_push(free, REPO, public=True, licence="apache-2.0")
    with pytest.raises(ConfigError, match="--licence"):
        plan_push(free, REPO, public=True)
    with pytest.raises(ConfigError, match=r"hf\.co/docs"):
        plan_push(free, REPO, licence="my licence!")


def test_what_is_made_from_a_model_keeps_its_terms(tmp_path):
    llama = with_licences(tmp_path / "l", "llama3.2", kind="base", origin="hf://meta/Llama@1234")
    with pytest.raises(DataError, match=r"Only --licence llama3\.2"):
        plan_push(llama, REPO, public=True, licence="mit")
    plan = plan_push(llama, REPO, public=True)
    assert plan.licence == "llama3.2"
    card = plan.texts["README.md"].decode()
    assert "base_model: meta/Llama" in card
    assert card.count("Built with Llama") == 2, "in both languages"
    unknown = with_licences(tmp_path / "u", "house rules 1.0", kind="base")
    with pytest.raises(DataError, match="house rules"):
        plan_push(unknown, REPO, public=True, licence="house-rules")


def test_a_data_set_keeps_the_licences_of_its_sources(made):
    with pytest.raises(ConfigError, match="keeps the licences"):
        plan_push(made["corpus"], REPO, licence="mit")
    assert "license: cc0-1.0" in plan_push(made["corpus"], REPO).texts["README.md"].decode()


# --- what may not leave --------------------------------------------------------------------------


def test_links_and_pickles_do_not_leave(made, tmp_path):
    model = with_licences(tmp_path / "m", "MIT")
    secret = tmp_path / "secret"
    shutil.copy(model / WEIGHTS, secret)
    (model / WEIGHTS).unlink()
    (model / WEIGHTS).symlink_to(secret)
    with pytest.raises(ArtifactError, match="not an ordinary file"):
        plan_push(model, REPO)
    with draft(tmp_path / "p", "base", config={}) as work:
        (work.path / "config.json").write_text("{}")
        (work.path / "optimizer.pt").write_bytes(b"x")
        shutil.copy(secret, work.path / WEIGHTS)
        work.finish()
    with pytest.raises(ArtifactError, match=r"optimizer\.pt is not sent"):
        plan_push(tmp_path / "p", REPO)


def test_a_file_the_hub_would_not_take_is_said_before_it_is_sent(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_files, "FILE_BYTES", 10)
    with pytest.raises(ArtifactError, match="larger than the Hub takes"):
        plan_push(with_licences(tmp_path / "m", "MIT"), REPO)


def test_weights_nobody_can_read_do_not_leave(tmp_path):
    with draft(tmp_path / "a", "sft", config={}) as work:
        (work.path / "config.json").write_text("{}")
        (work.path / WEIGHTS).write_bytes(b'\x07\0\0\0\0\0\0\0{"a":1}')
        work.finish()
    with pytest.raises(ArtifactError, match="not readable as safetensors"):
        plan_push(tmp_path / "a", REPO, licence="mit")


def test_a_damaged_artifact_does_not_leave(tmp_path):
    model = with_licences(tmp_path / "m", "MIT")
    (model / WEIGHTS).write_bytes(flipped((model / WEIGHTS).read_bytes()))
    with pytest.raises(ArtifactError, match="damaged"):
        plan_push(model, REPO)


def test_files_nobody_recorded_do_not_leave(tmp_path, hub):
    model = with_licences(tmp_path / "m", "MIT")
    (model / ".env").write_text("HF_TOKEN=hf_secret")
    sent(model)
    assert ".env" not in stored(hub).files


@pytest.mark.parametrize(
    "text, repo",
    [
        ("me/m", Repo("me/m")),
        ("datasets/me/m@v1", Repo("me/m", "dataset", "v1")),
        ("hf://me/m@refs/pr/1", Repo("me/m", None, "refs/pr/1")),
    ],
)
def test_how_a_repository_is_named(text, repo):
    assert parse_repo(text) == repo


@pytest.mark.parametrize(
    "text", ["m", "a/b/c", "../x", "me/..", "me/a--b", "https://hf.co/a/b", "me/한글", "me/m@", ""]
)
def test_what_names_no_repository(text):
    with pytest.raises(ConfigError, match="owner/name"):
        parse_repo(text)


@pytest.mark.network
def test_the_real_hub_lists_a_model(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_client, "ATTEMPTS", 1)
    try:
        found = pull(Repo("HuggingFaceTB/SmolLM2-135M"), tmp_path / "x", dry_run=True)
    except HubError as error:
        if "cannot be reached" in str(error):
            pytest.skip("the Hub cannot be reached from here")
        raise
    assert "config.json" in found.files
    assert len(found.repo.revision) == 40
    got = pull(found.repo, tmp_path / "tok", only="tokenizer")
    assert got.artifact.manifest.licences == ["apache-2.0"]
    assert (tmp_path / "tok" / "tokenizer.json").is_file()
