"""The predictions of a run itself: its own trainer, built from its trained weights.

python reference.py RUN_FOLDER INPUTS OUTPUTS
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from fwcompare.graph import load
from fwcompare.plugin import load_trainer, open_job
from fwcompare.record import FINAL_WEIGHTS, SPEC_FILE
from fwcompare.spec import RunSpec

folder, inputs, outputs = map(Path, sys.argv[1:])
spec = RunSpec.read(folder / SPEC_FILE)
job, data = open_job(spec, folder)
trained = load(folder / FINAL_WEIGHTS, job.graph)
trainer = load_trainer(spec.framework.trainer)(replace(job, initial_weights=trained))
given = np.ascontiguousarray(data.split("test", spec.dtype).inputs[:16])
np.save(inputs, given)
np.save(outputs, trainer.predict(given))
