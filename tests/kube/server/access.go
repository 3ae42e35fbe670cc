// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/yaml"
)

const account = "system:serviceaccount:weft-system:weftd"

// access is who may do what: the administrator all, who has a valid token what the role grants.
type access struct {
	dir, admin string
	ca         []byte
	rules      []rbacv1.PolicyRule

	mutex sync.Mutex
	valid map[string]bool
}

func newAccess(dir, role string) (*access, error) {
	a := &access{dir: dir, admin: uuid.NewString(), valid: map[string]bool{}}
	text, err := os.ReadFile(role)
	if err != nil {
		return nil, err
	}
	for _, document := range strings.Split(string(text), "\n---") {
		var r rbacv1.ClusterRole
		if yaml.Unmarshal([]byte(document), &r) == nil && r.Kind == "ClusterRole" {
			a.rules = append(a.rules, r.Rules...)
		}
	}
	if len(a.rules) == 0 {
		return nil, fmt.Errorf("%s has no ClusterRole", role)
	}
	if _, err := os.Stat(filepath.Join(dir, "server.key")); err != nil {
		if err := makeKeys(dir); err != nil {
			return nil, err
		}
	}
	if a.ca, err = os.ReadFile(filepath.Join(dir, "ca.pem")); err != nil {
		return nil, err
	}
	if token, err := os.ReadFile(filepath.Join(dir, "token")); err == nil { // from before a restart
		a.valid[string(token)] = true
		return a, nil
	}
	return a, a.rotate(false)
}

func (a *access) authenticator() authenticator.Request {
	return group.NewAuthenticatedGroupAdder(union.NewFailOnError(bearertoken.New(a), anonymous.NewAuthenticator(nil)))
}

func (a *access) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	switch {
	case token == a.admin:
		return &authenticator.Response{User: &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}}, true, nil
	case a.valid[token]:
		return &authenticator.Response{User: &user.DefaultInfo{Name: account, Groups: []string{"system:serviceaccounts"}}}, true, nil
	}
	return nil, false, errors.New("service account token has expired")
}

func (a *access) authorize(_ context.Context, what authorizer.Attributes) (authorizer.Decision, string, error) {
	who := what.GetUser()
	if slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	name := what.GetResource()
	if what.GetSubresource() != "" {
		name += "/" + what.GetSubresource()
	}
	for _, rule := range a.rules {
		if who.GetName() == account && what.IsResourceRequest() && slices.Contains(rule.APIGroups, what.GetAPIGroup()) &&
			slices.Contains(rule.Resources, name) && slices.Contains(rule.Verbs, what.GetVerb()) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "no rule grants it", nil
}

// expire makes all tokens invalid that were given out.
func (a *access) expire() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.valid = map[string]bool{}
}

// rotate gives out another token, by the kubelet's way of changing a volume: a new folder, to which one link is renamed.
func (a *access) rotate(expires bool) error {
	if expires {
		a.expire()
	}
	token := uuid.NewString()
	a.mutex.Lock()
	a.valid[token] = true
	a.mutex.Unlock()
	folder := ".." + time.Now().UTC().Format("2006_01_02_15_04_05.000000000")
	if err := os.Mkdir(filepath.Join(a.dir, folder), 0o755); err != nil {
		return err
	}
	for name, text := range map[string]string{"token": token, "ca.crt": string(a.ca)} {
		if err := os.WriteFile(filepath.Join(a.dir, folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	data, fresh := filepath.Join(a.dir, "..data"), filepath.Join(a.dir, "..data_tmp")
	former, _ := os.Readlink(data)
	if err := errors.Join(os.Symlink(folder, fresh), os.Rename(fresh, data)); err != nil {
		return err
	}
	if former != "" {
		return os.RemoveAll(filepath.Join(a.dir, former))
	}
	return errors.Join(os.Symlink("..data/token", filepath.Join(a.dir, "token")), os.Symlink("..data/ca.crt", filepath.Join(a.dir, "ca.crt")))
}

func makeKeys(dir string) error {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	from, until := time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"kubernetes.default.svc", "apiserver-loopback-client"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	ca, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	certificate, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return err
	}
	keyText, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: ca}, "server.crt": {Type: "CERTIFICATE", Bytes: certificate},
		"server.key": {Type: "EC PRIVATE KEY", Bytes: keyText}} {
		if err := publish(filepath.Join(dir, name), string(pem.EncodeToMemory(block))); err != nil {
			return err
		}
	}
	return nil
}
