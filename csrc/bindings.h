// What each op adds to the module; bindings.cpp calls them all.
#pragma once

#include <pybind11/pybind11.h>

void bind_attention(pybind11::module_& m);
void bind_contrastive(pybind11::module_& m);
void bind_gru(pybind11::module_& m);
void bind_mixture(pybind11::module_& m);
void bind_scores(pybind11::module_& m);
