# What runs in a cluster: the chart, the manifest made of it, and the image's root file system.
HELM       ?= $(or $(wildcard $(BUILD)/tools/helm),helm)
HELM_VERSION := v3.22.0
IMAGE_ROOT := $(BUILD)/image-root

.PHONY: deploy-manifest
deploy-manifest: ## Make deploy/weft.yaml of the chart (HELM=helm; scripts/helm.sh gets one)
	scripts/deploy-manifest.sh "$(HELM)" >$(BUILD)/weft.yaml
	mv $(BUILD)/weft.yaml deploy/weft.yaml

.PHONY: image-root
image-root: all ## Lay out the image's root file system, start weftd in it, print its size (root)
	scripts/image-root.sh $(BUILD) $(IMAGE_ROOT)
	timeout 60 tests/deploy/image_root_test.sh $(IMAGE_ROOT)

.PHONY: test-deploy test-chart
test-deploy: ## Check that deploy/weft.yaml is the chart's, and what it asks for
	timeout 60 python3 -B tests/deploy/manifest_test.py

test-chart: ## The same with Helm: lint, template, schema (HELM=helm; scripts/helm.sh gets one)
	timeout 120 python3 -B tests/deploy/manifest_test.py --helm "$(HELM)"
