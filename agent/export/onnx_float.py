"""ONNX files of floating-point weights. A plain fp32 file is also what other runtimes' converters start from."""

from __future__ import annotations

from agent.export.emit import Form, emit
from agent.export.graph import check_file
from agent.export.job import Job, Written


def write_fp32(job: Job) -> Written:
    """Convolutions as they are, which every reader of ONNX knows how to make fast.

    Raises:
        ConversionFailed: the graph is larger than an ONNX file may be, or not valid.
    """
    with job.out.open("wb") as file:
        emit(job.in_form(Form.PLAIN.value), Form.PLAIN, file, job.reporter)
    check_file(job.out)
    return Written(form=Form.PLAIN.value)
