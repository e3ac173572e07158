"""The commands of README and docs/, word for word; long ones cut short by further options."""

import contextlib
import json
import re
import shlex
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from skingpt4.common.checkpoint import read_tensors
from skingpt4.synthetic.render import render
from skingpt4.synthetic.sets import held_out_cases
from tests.conftest import PROJECT
from tests.scripts import run_here, run_script
from tests.waiting import free_port, wait_for

README = PROJECT / "README.md"
# The embedded model comes first: what it trains is what the other pages use.
DOCS = (
    "embedded_model",
    "conversing",
    "serving",
    "training",
    "evaluation",
    "weights",
    "fast_answers",
)
PAGES = [PROJECT / "docs" / f"{name}.md" for name in DOCS]
PAGES.insert(1, README)
TEXTS = [page.read_text(encoding="utf-8") for page in PAGES]
# A command that stands on two pages counts once.
COMMANDS = list(
    dict.fromkeys(
        line.split("#")[0].strip()
        for text in TEXTS
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
        for line in block.splitlines()
        if line.split("#")[0].strip()
    )
)
PIPELINE = [line for line in COMMANDS if line.startswith("python") and "demo.py" not in line]
DEMO_LINES = [line for line in COMMANDS if line.startswith("python demo.py")]
CHECKS = [line for line in DEMO_LINES if "--check" in line]
SCRIPTED = [line for line in DEMO_LINES if "--ask" in line or "--batch" in line]
DEMOS = [line for line in DEMO_LINES if line not in CHECKS + SCRIPTED]
(CERTIFICATE,) = [line for line in COMMANDS if line.startswith("openssl")]
# At full size: shown, not run here; every one heads a file of train_configs, which has tests.
FULL_SIZE = [
    line for text in TEXTS for line in text.splitlines() if "train_configs/skingpt4_" in line
]
# What makes each script quick; the commands themselves stay as written.
SHORTER = {
    "dataset/make_synthetic.py": "--foundation 30 --questions 60 --dialogues 40 --concept 30 "
    "--diagnosis 30 --cases-per-class 1 --workers 1 --overwrite",
    "train.py": "run.max_epoch=1 run.iters_per_epoch=2 run.num_workers=0 run.warmup_steps=1",
    "evaluate.py": "--limit 4",
}
# What `make weights ablation` does not do.
ASIDE = ("convert.py", "tiny_photos", "export_hf", "evaluate.py")


def run_in_process(command, extra=""):
    script, *arguments = shlex.split(command)[1:]
    if script == "train.py" and "--options" not in arguments:
        arguments.append("--options")
    assert run_here(script, *arguments, *shlex.split(extra)) == 0, command


def write_notes(folder):
    """Write photos and a table about them, as a reader of the README would have them."""
    (folder / "photos").mkdir()
    rows = []
    for number, case in enumerate(held_out_cases(seed=5, per_class=2)):
        render(case).save(folder / "photos" / f"{number}.jpg")
        rows.append(f"{number}.jpg,{case.disease}")
    (folder / "notes.csv").write_text("\n".join(["image,label", *rows]) + "\n", encoding="utf-8")


def script_of(command):
    return shlex.split(command)[1]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Run the whole pipeline in an empty folder, where every file it needs is its own."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_notes(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in PIPELINE:
            run_in_process(command, SHORTER.get(script_of(command), ""))
    return folder


def test_the_pipeline_runs_as_written(workplace):
    for step in ("stage0", "stage1", "stage2"):
        assert (workplace / "output" / "tiny" / step / "log.txt").is_file()
    own = workplace / "output" / "tiny_photos_stage2_diagnosis"
    assert (own / "checkpoint_last.safetensors").is_file()


@pytest.mark.parametrize("step", ["stage1", "stage2"])
def test_steps_one_and_two_save_the_projection_alone(workplace, step):
    saved = read_tensors(workplace / "output" / "tiny" / step / "checkpoint_last.safetensors")
    assert saved.keys() == {"llama_proj.weight", "llama_proj.bias"}


def parts_saved(run):
    return {name.split(".")[0] for name in read_tensors(run / "checkpoint_last.safetensors")}


def test_step_zero_trains_every_part(workplace):
    runs = workplace / "output" / "tiny"
    assert "llm_model" in parts_saved(runs / "stage0_language")
    seeing = {"visual_encoder", "ln_vision", "Qformer", "query_tokens", "llama_proj"}
    assert parts_saved(runs / "stage0") == seeing


def test_accelerate_launches_training(workplace):
    (command,) = [line for line in COMMANDS if line.startswith("accelerate")]
    script, *arguments = shlex.split(command)[2:]
    options = [*SHORTER["train.py"].split(), "run.output_dir=output/launched"]
    launcher = [str(Path(sys.executable).parent / "accelerate"), "launch", "--cpu"]
    done = run_script(script, *arguments, *options, cwd=workplace, launcher=launcher)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (workplace / "output" / "launched" / "checkpoint_last.safetensors").is_file()


def test_make_weights_is_what_the_readme_says():
    dry = subprocess.run(
        ["make", "-n", "weights", "ablation"], cwd=PROJECT, capture_output=True, text=True
    )
    planned = dry.stdout.replace(".venv/bin/", "").replace("\\\n", " ")
    for command in PIPELINE:
        if not any(word in command for word in ASIDE):
            assert command in planned


def test_the_exported_folder_is_whole(workplace):
    exported = {path.name for path in (workplace / "output" / "hf").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= exported


def test_the_protocol_writes_its_report(workplace):
    report = workplace / "output" / "evaluation" / "report.html"
    assert "SIMULATED BY A SCRIPT" in report.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", CHECKS)
def test_checks_say_what_is_missing_without_any_weights(command, tmp_path):
    done = run_script(*shlex.split(command)[1:], SKINGPT4_WEIGHTS=str(tmp_path))
    assert done.returncode == 1, done.stderr[-2000:]
    assert "MISSING" in done.stdout
    assert "Not ready" in done.stdout


def page_answers(port, process, scheme="http"):
    codes = []
    trusting = ssl._create_unverified_context() if scheme == "https" else None

    def has_answered():
        address = f"{scheme}://127.0.0.1:{port}/"
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(address, timeout=5, context=trusting) as page,
        ):
            codes.append(page.status)
        return codes or process.poll() is not None

    wait_for(has_answered)
    return codes == [200]


def test_own_photos_are_converted(workplace):
    kept = json.loads(
        (workplace / "data" / "skin_align" / "train" / "filter_cap.json").read_text("utf-8")
    )
    assert all("skin disease image" in row["caption"] for row in kept["annotations"])


@pytest.mark.parametrize("command", SCRIPTED)
def test_scripts_get_answers_without_the_page(command, tmp_path):
    arguments = [
        str(PROJECT / word) if word.startswith("skingpt4/") else word
        for word in shlex.split(command)[2:]
    ]
    done = run_script("demo.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    written = list(tmp_path.glob("output/*.jsonl"))
    said = written[0].read_text(encoding="utf-8") if written else done.stdout
    assert "psoriasis" in said.lower()


@pytest.mark.parametrize("command", FULL_SIZE)
def test_full_size_commands_head_the_files_that_they_name(command):
    config = next(word for word in shlex.split(command) if word.endswith(".yaml"))
    assert f"# {command}" in (PROJECT / config).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("number", range(len(DEMOS)))
def test_the_demo_serves_as_written(number, request, tmp_path):
    port, place, scheme = free_port(), PROJECT, "http"
    arguments = [*shlex.split(DEMOS[number], comments=True)[2:], "--port", str(port)]
    command = [sys.executable, str(PROJECT / "demo.py"), *arguments]
    if "output/" in DEMOS[number]:  # what was trained above is served too
        place = request.getfixturevalue("workplace")
    if "--ssl-certfile" in DEMOS[number]:
        place, scheme = tmp_path, "https"
        subprocess.run(shlex.split(CERTIFICATE), cwd=place, check=True, capture_output=True)
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True)
    try:
        assert page_answers(port, process, scheme)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_every_page_is_read_and_every_link_leads_somewhere():
    assert {page.name for page in (PROJECT / "docs").glob("*.md")} <= {
        *(page.name for page in PAGES),
        "differences.md",
    }
    for page in [*PAGES, PROJECT / "docs" / "differences.md", PROJECT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


def test_files_of_the_package_that_are_named_exist():
    pages = [*PAGES, *PROJECT.glob("dataset/*.md"), *PROJECT.glob("containers/*.md")]
    pages += [PROJECT / "docs" / "differences.md", PROJECT / "CONTRIBUTING.md"]
    named = {
        name
        for page in pages
        for name in re.findall(r"(?:skingpt4|tests)/[\w/]+\.\w+", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 3
    assert [name for name in sorted(named) if not (PROJECT / name).exists()] == []


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").split()) <= 1400


def test_the_python_example_runs(monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), flags=re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()
