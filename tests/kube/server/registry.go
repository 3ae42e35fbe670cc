// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	applyconfigurations "k8s.io/client-go/applyconfigurations"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

var (
	scheme     = runtime.NewScheme()
	codecs     = serializer.NewCodecFactory(scheme)
	parameters = runtime.NewParameterCodec(scheme)
	v1         = corev1.SchemeGroupVersion
	internal   = schema.GroupVersion{Version: runtime.APIVersionInternal}
)

// What requests can select by, apart from names.
func selectable(object runtime.Object) fields.Set {
	if pod, ok := object.(*corev1.Pod); ok {
		return fields.Set{"spec.nodeName": pod.Spec.NodeName, "status.phase": string(pod.Status.Phase)}
	}
	return fields.Set{}
}

// There is one version only, so its types are the internal ones too: nothing has to be converted.
func init() {
	must(corev1.AddToScheme(scheme))
	for _, kind := range []string{"Pod", "Namespace", "Event"} {
		for _, name := range []string{kind, kind + "List"} {
			object, err := scheme.New(v1.WithKind(name))
			must(err)
			scheme.AddKnownTypeWithName(internal.WithKind(name), object)
		}
		one, _ := scheme.New(v1.WithKind(kind))
		known := selectable(one)
		must(scheme.AddFieldLabelConversionFunc(v1.WithKind(kind), func(label, value string) (string, string, error) {
			if _, ok := known[label]; ok || label == "metadata.name" || label == "metadata.namespace" {
				return label, value, nil
			}
			return "", "", fmt.Errorf("field label not supported: %s", label)
		}))
	}
}

// What happens to objects on their way into the registry.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	isNamespaced, isStatus bool
}

func (s strategy) NamespaceScoped() bool                                    { return s.isNamespaced }
func (s strategy) Canonicalize(runtime.Object)                              {}
func (s strategy) AllowCreateOnUpdate(context.Context) bool                 { return false }
func (s strategy) AllowUnconditionalUpdate(context.Context) bool            { return true }
func (s strategy) Validate(context.Context, runtime.Object) field.ErrorList { return nil }
func (s strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}
func (s strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }
func (s strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (s strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	switch o := object.(type) {
	case *corev1.Pod:
		o.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBurstable}
	case *corev1.Namespace:
		o.Status.Phase = corev1.NamespaceActive
	}
}

func (s strategy) PrepareForUpdate(_ context.Context, object, former runtime.Object) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	if s.isStatus {
		pod.Spec, pod.DeletionTimestamp = former.(*corev1.Pod).Spec, former.(*corev1.Pod).DeletionTimestamp
	} else {
		pod.Status = former.(*corev1.Pod).Status
	}
}

// A pod on a node ends when its kubelet deletes it without any grace.
type podStrategy struct{ strategy }

func (podStrategy) CheckGracefulDelete(_ context.Context, object runtime.Object, options *metav1.DeleteOptions) bool {
	if options.GracePeriodSeconds == nil {
		period := int64(corev1.DefaultTerminationGracePeriodSeconds)
		if object.(*corev1.Pod).Spec.NodeName == "" {
			period = 0
		}
		options.GracePeriodSeconds = &period
	}
	return true
}

type resource struct {
	*registry.Store
}

func (resource) ShortNames() []string { return nil }

// pods/status
type statusOf struct{ store *registry.Store }

func (s statusOf) New() runtime.Object { return s.store.New() }
func (s statusOf) Destroy()            {}
func (s statusOf) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, o)
}
func (s statusOf) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return s.store.Update(ctx, name, info, create, update, false, o)
}

func newStore(kind, plural, singular string, isNamespaced bool, base storagebackend.Config) *registry.Store {
	group := schema.GroupResource{Resource: plural}
	base.Codec = codecs.CodecForVersions(protobuf.NewSerializer(scheme, scheme), codecs.UniversalDeserializer(), v1, internal)
	base.EncodeVersioner = v1
	make := func(name string) func() runtime.Object {
		return func() runtime.Object { object, _ := scheme.New(v1.WithKind(name)); return object }
	}
	s := strategy{scheme, names.SimpleNameGenerator, isNamespaced, false}
	store := &registry.Store{NewFunc: make(kind), NewListFunc: make(kind + "List"), DefaultQualifiedResource: group,
		SingularQualifiedResource: schema.GroupResource{Resource: singular}, CreateStrategy: s, UpdateStrategy: s, DeleteStrategy: s,
		TableConvertor: rest.NewDefaultTableConvertor(group)}
	options := &generic.StoreOptions{
		RESTOptions: generic.RESTOptions{StorageConfig: base.ForResource(group), Decorator: registry.StorageWithCacher(), DeleteCollectionWorkers: 1,
			EnableGarbageCollection: true, ResourcePrefix: plural, CountMetricPollPeriod: time.Minute, StorageObjectCountTracker: base.StorageObjectCountTracker},
		AttrFunc: func(object runtime.Object) (labels.Set, fields.Set, error) {
			of, err := meta.Accessor(object)
			if err != nil {
				return nil, nil, err
			}
			set := selectable(object)
			set["metadata.name"] = of.GetName()
			if isNamespaced {
				set["metadata.namespace"] = of.GetNamespace()
			}
			return of.GetLabels(), set, nil
		}}
	if kind == "Pod" { // as in kube-apiserver: a node's pods are found, and told of, without looking at all others
		store.CreateStrategy, store.UpdateStrategy, store.DeleteStrategy = podStrategy{s}, podStrategy{s}, podStrategy{s}
		node := func(object runtime.Object) string { return object.(*corev1.Pod).Spec.NodeName }
		options.TriggerFunc = storage.IndexerFuncs{"spec.nodeName": node}
		options.Indexers = &cache.Indexers{storage.FieldIndex("spec.nodeName"): func(object any) ([]string, error) {
			return []string{node(object.(runtime.Object))}, nil
		}}
	}
	must(store.CompleteWithOptions(options))
	return store
}

func newServer(o options, wire *wire, access *access, control *control, etcdURL string) (*server.GenericAPIServer, map[string]*registry.Store) {
	if o.gates != "" {
		must(utilfeature.DefaultMutableFeatureGate.Set(o.gates))
	}
	certificate, err := dynamiccertificates.NewDynamicServingContentFromFiles("serving", filepath.Join(o.dir, "server.crt"), filepath.Join(o.dir, "server.key"))
	must(err)
	address := wire.Addr().(*net.TCPAddr)
	c := server.NewConfig(codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	c.SecureServing = &server.SecureServingInfo{Listener: wire, Cert: certificate, DisableHTTP2: o.noHTTP2}
	c.PublicAddress, c.ExternalAddress = address.IP, address.String()
	c.LoopbackClientConfig = &clientrest.Config{Host: "https://" + address.String(), BearerToken: access.admin,
		TLSClientConfig: clientrest.TLSClientConfig{CAData: access.ca}}
	c.Authentication.Authenticator = access.authenticator()
	c.Authorization.Authorizer = authorizer.AuthorizerFunc(access.authorize)
	c.SkipOpenAPIInstallation = true
	c.GoawayChance = o.goaway
	c.BuildHandlerChainFunc = func(api http.Handler, c *server.Config) http.Handler {
		return control.wrap(server.DefaultBuildHandlerChain(api, c))
	}
	s, err := c.Complete(nil).New("kube-server", server.NewEmptyDelegate())
	must(err)

	base := *storagebackend.NewDefaultConfig("/registry", nil)
	base.Transport.ServerList = []string{etcdURL}
	base.StorageObjectCountTracker = c.StorageObjectCountTracker
	stores := map[string]*registry.Store{
		"pods":       newStore("Pod", "pods", "pod", true, base),
		"namespaces": newStore("Namespace", "namespaces", "namespace", false, base),
		"events":     newStore("Event", "events", "event", true, base),
	}
	storages := map[string]rest.Storage{}
	served := map[string][]string{}
	for plural, store := range stores {
		storages[plural] = resource{store}
		s.RegisterDestroyFunc(store.DestroyFunc)
	}
	status := *stores["pods"]
	status.UpdateStrategy = strategy{scheme, names.SimpleNameGenerator, true, true}
	storages["pods/status"] = statusOf{&status}
	for name := range storages {
		served[name] = []string{v1.String()}
	}
	version := &endpoints.APIGroupVersion{Storage: storages, Root: server.DefaultLegacyAPIPrefix, GroupVersion: v1, AllServedVersionsByResource: served,
		OptionsExternalVersion: &v1, ParameterCodec: parameters, Typer: scheme, Creater: scheme, Convertor: scheme, ConvertabilityChecker: scheme,
		Defaulter: scheme, Namer: runtime.Namer(meta.NewAccessor()), UnsafeConvertor: runtime.UnsafeObjectConvertor(scheme),
		Serializer: serializer.NewCodecFactory(scheme, serializer.WithStreamingCollectionEncodingToJSON(),
			serializer.WithStreamingCollectionEncodingToProtobuf()),
		TypeConverter: managedfields.TypeConverter(applyconfigurations.NewTypeConverter(scheme)), EquivalentResourceRegistry: s.EquivalentResourceRegistry,
		Authorizer: c.Authorization.Authorizer, MinRequestTimeout: 30 * time.Minute, MaxRequestBodyBytes: 3 << 20}
	_, _, err = version.InstallREST(s.Handler.GoRestfulContainer)
	must(err)
	return s, stores
}
