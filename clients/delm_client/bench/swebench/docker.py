"""The official harness, which runs every instance in its own docker image."""

import gzip
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from delm_client.bench.errors import PlugError
from delm_client.bench.items import Instance
from delm_client.bench.swebench import outcomes
from delm_client.bench.swebench.outcomes import Judged
from delm_client.bench.swebench.predictions import Prediction, read
from delm_client.repair.processes import last_lines, run_bounded

CHECK_S = 60
ELSEWHERE = "Or judge elsewhere: predictions are in the official format, and `sb-cli` or Modal take them too."


@dataclass(frozen=True, slots=True)
class DockerHarness:
    """Runs `python -m swebench.harness.run_evaluation` and reads its reports; what is judged is kept."""

    dataset: str
    """A name on the hub, or a local `.parquet`, `.json` or `.jsonl`, also as `.gz`."""
    folder: Path
    """Where the harness is started: its logs and reports are kept there."""
    run_id: str
    split: str = "test"
    python: str = sys.executable
    """The interpreter that has `swebench`; it needs some 490 MB, so it is not a dependency of ours."""
    docker: str = "docker"
    workers: int = 4
    instance_timeout_s: int = 1800
    timeout_s: float = 24 * 3600.0

    def argv(self, predictions: Path, ids: Iterable[str], dataset: str = "") -> list[str]:
        """The harness's command line."""
        return [
            self.python, "-m", "swebench.harness.run_evaluation",
            "--dataset_name", dataset or self.dataset,
            "--split", self.split,
            "--predictions_path", str(predictions.resolve()),
            "--run_id", self.run_id,
            "--max_workers", str(self.workers),
            "--timeout", str(self.instance_timeout_s),
            "--report_dir", str(self.folder.resolve()),
            "--instance_ids", *ids,
        ]  # fmt: skip

    def check(self) -> None:
        """Is docker there, does its daemon answer, and is the harness installed. Raises PlugError."""
        try:
            daemon_answers(self.docker)
        except PlugError as error:
            raise PlugError(f"{error} {ELSEWHERE}") from error
        try:
            found = run_bounded(
                [self.python, "-c", "import swebench.harness.run_evaluation"],
                Path.cwd(),
                timeout_s=CHECK_S,
            )
        except OSError as error:
            raise PlugError(f"{self.python} cannot be started: {error}") from error
        if found.code != 0:
            raise PlugError(
                f"{self.python} cannot import the harness: {last_lines(found.output, 1)} "
                "Install it in an environment of its own: `pip install 'swebench>=5,<6'`, "
                "and name its python."
            )

    def judge(self, instances: Sequence[Instance], predictions: Path) -> dict[str, Judged]:
        self.check()
        made = {prediction.instance_id: prediction for prediction in read(predictions)}
        ours = [made[instance.id] for instance in instances if instance.id in made]
        if not ours:
            return outcomes.complete(instances, (), {})
        models = {prediction.model for prediction in ours}
        if len(models) > 1:
            raise PlugError(
                f"{predictions} holds several models ({', '.join(sorted(models))}): one a file, please."
            )
        model = models.pop()
        self.folder.mkdir(parents=True, exist_ok=True)
        report = self.folder / f"{model.replace('/', '__')}.{self.run_id}.json"
        report.unlink(missing_ok=True)  # of an earlier, shorter run
        ids = [prediction.instance_id for prediction in ours]
        self._forget_broken(model, ids)
        argv = self.argv(predictions, ids, self._dataset())
        ended = run_bounded(argv, self.folder, timeout_s=self.timeout_s)
        judged = self.read(model, ids)
        if not judged and ended.code != 0:
            raise PlugError(f"The harness ended with code {ended.code}:\n{last_lines(ended.output)}")
        return outcomes.complete(instances, ours, judged)

    def read(self, model: str, ids: Iterable[str]) -> dict[str, Judged]:
        """What the harness has judged so far: its report on the run, or else those on single instances."""
        logs = outcomes.log_folder(self.folder, self.run_id, model)
        report = self.folder / f"{model.replace('/', '__')}.{self.run_id}.json"
        if report.is_file():
            return outcomes.read_run_report(report, logs)
        judged: dict[str, Judged] = {}
        for instance_id in ids:
            single = logs / instance_id / "report.json"
            if single.is_file() and single.stat().st_size:
                judged |= outcomes.read_instance_report(single)
        return judged

    def _forget_broken(self, model: str, ids: Iterable[str]) -> None:
        """Remove reports that only say that an environment broke: the harness would not try those again."""
        logs = outcomes.log_folder(self.folder, self.run_id, model)
        for instance_id in ids:
            single = logs / instance_id / "report.json"
            if not single.is_file():
                continue
            if not single.stat().st_size or not all(
                one.outcome.is_judged for one in outcomes.read_instance_report(single).values()
            ):
                single.unlink()

    def _dataset(self) -> str:
        """The data set as the harness can read it: it takes no `.gz`, and is started in another folder."""
        path = Path(self.dataset)
        if not path.is_file():
            return self.dataset
        if path.suffix != ".gz":
            return str(path.resolve())
        plain = self.folder / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        return str(plain.resolve())


def daemon_answers(docker: str) -> None:
    """Is docker there, and does its daemon answer. Raises PlugError."""
    if shutil.which(docker) is None:
        raise PlugError(
            f"docker is needed, and `{docker}` is not installed: see https://docs.docker.com/engine/install/."
        )
    ended = run_bounded([docker, "version", "--format", "{{.Server.Version}}"], Path.cwd(), timeout_s=CHECK_S)
    if ended.code != 0:
        why = last_lines(ended.output, 1) or f"it did not answer within {CHECK_S} s"
        raise PlugError(f"docker is installed, but its daemon does not answer: {why}")


def image_of(instance: Instance) -> str:
    """The official image of an instance, as its row or else the convention names it."""
    return instance.image or f"swebench/sweb.eval.x86_64.{instance.id.replace('__', '_1776_').lower()}:latest"


def gold(instances: Iterable[Instance]) -> list[Prediction]:
    """The gold patches as predictions: what shows that an environment works at all."""
    return [Prediction(instance.id, "gold", instance.patch) for instance in instances]
