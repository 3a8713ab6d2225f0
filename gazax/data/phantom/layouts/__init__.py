"""The phantom written as other data sets are: their files, their columns, their ids' form."""

from gazax.data.phantom.layouts.egd_cxr import write_egd_cxr
from gazax.data.phantom.layouts.reflacx import write_reflacx

LAYOUTS = {"reflacx": write_reflacx, "egd_cxr": write_egd_cxr}

__all__ = ["LAYOUTS", "write_egd_cxr", "write_reflacx"]
