"""thop's rules for recurrent networks by name; see :mod:`opflops.compat.thop.vision.basic_hooks`."""

from __future__ import annotations

from opflops.compat.thop.vision.basic_hooks import CountedByOperators

count_rnn_cell = CountedByOperators("count_rnn_cell")
count_gru_cell = CountedByOperators("count_gru_cell")
count_lstm_cell = CountedByOperators("count_lstm_cell")
count_rnn = CountedByOperators("count_rnn")
count_gru = CountedByOperators("count_gru")
count_lstm = CountedByOperators("count_lstm")
