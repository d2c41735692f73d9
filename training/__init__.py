"""How the models that ship were trained. Not part of the wheel."""
