# What a pod at its quota costs another one: build/bench-hostile.json, rows like those of build/bench-engine.json.
.PHONY: bench-hostile
bench-hostile: all ## Measure a pod's latency while its neighbour has its quota of connections idle or stalled (root; QUICK=1: half a minute)
	timeout 600 python3 -B bench/hostile/hostile_pod.py --build $(BUILD) --out $(BUILD)/bench-hostile.json $(if $(QUICK),--rounds 1 --seconds 2)
