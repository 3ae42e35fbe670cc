# What runs in a cluster: the chart, the manifest made of it, and the image's root file system.
HELM       ?= $(BUILD)/tools/helm
IMAGE_ROOT := $(BUILD)/image-root

$(BUILD)/tools/helm: scripts/helm.sh tests/deploy/requirements.txt
	scripts/helm.sh $(@D)
	@touch $@

.PHONY: deploy-manifest
deploy-manifest: $(HELM) ## Make deploy/weft.yaml of the chart (HELM=path of one to use)
	scripts/deploy-manifest.sh "$(HELM)" >$(BUILD)/weft.yaml
	mv $(BUILD)/weft.yaml deploy/weft.yaml

.PHONY: image-root
image-root: all $(BUILD)/xds-venv/.stamp ## Lay out the image's root file system, start weftd in it, print its size and how long that takes (root)
	scripts/image-root.sh $(BUILD) $(IMAGE_ROOT)
	timeout 120 tests/deploy/image_root_test.sh $(IMAGE_ROOT) $(BUILD)/xds-venv/bin/python

.PHONY: test-deploy
test-deploy: $(HELM) ## Check the chart with Helm (lint, template, schema), and that deploy/weft.yaml is what it makes (HELM=path of one to use)
	timeout 120 python3 -B tests/deploy/manifest_test.py --helm "$(HELM)"
