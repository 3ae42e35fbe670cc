# What pods of Kubernetes cost: build/bench-kube.json.
.PHONY: bench-kube
bench-kube: all ## Measure how fast pods of Kubernetes are enrolled, and what they cost (root; QUICK=1: some seconds)
	timeout 600 python3 -B bench/kube/kube.py --build $(BUILD) --out $(BUILD)/bench-kube.json $(if $(QUICK),--pods 50 --namespaces 500 --churn 5 --labels 5 --toggle 6 --outage 5)
