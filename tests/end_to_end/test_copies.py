"""An acknowledged prompt of 10 KB survives the disk of its submitter: on real nodes."""

import base64
import hashlib
import shutil

from mesh.cli.demo import wait_for
from tests.end_to_end.processes import RealMesh
from tests.end_to_end.test_together import known, wait_state, worker

PROMPT = hashlib.shake_128(b"prompt").digest(10_000)


def test_a_10_kb_prompt_outlives_its_submitter_with_everything_on_its_disk(
    real_mesh: RealMesh,
) -> None:
    first, second, third = real_mesh.start(3)
    payload = base64.b64encode(PROMPT).decode()
    answer = first.call("task.submit", kind="echo", payload=payload)
    real_mesh.kill(first)
    shutil.rmtree(first.folder / "data")
    assert answer["copies"] >= 2
    task = answer["task"]
    wait_for("the task", lambda: known(third, task), 20)
    worker(third, "echo", "cat")
    shown = wait_state(second, task, "completed", 40)
    digest = hashlib.blake2b(PROMPT, digest_size=32).hexdigest()
    assert shown["result"]["digest"] == digest, "it came back as it was"
