"""Plain Keras: a whole model is loaded, and needs nothing more.

python plain_keras.py MODEL FILE INPUTS OUTPUTS
"""

import sys

import keras
import numpy as np

_, file, inputs, outputs = sys.argv[1:]
model = keras.saving.load_model(file)
np.save(outputs, model.predict(np.load(inputs, allow_pickle=False), verbose=0))
assert not any(module.startswith("fwcompare") for module in sys.modules)
