# Recorded streams of a real istiod (tests/data/recordings) through the state machine and the compiler. `make replay UPDATE=1` writes the
# expectations; NAME="a b" runs some.
.PHONY: replay
replay: $(BUILD)/weftd ## Replay recordings of a real istiod push by push, and check dumps of a real Envoy (UPDATE=1, NAME="a b")
	tests/replay/replay.sh $(BUILD)/weftd $(BUILD)/tests/replay $(if $(UPDATE),--update) $(NAME)
	tests/replay/dump.sh $(BUILD)/weftd $(BUILD)/tests/replay $(if $(UPDATE),--update)
