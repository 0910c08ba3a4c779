package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The users of the token file. All are cluster administrators: least
// privilege is what tests set up for their own users, not for these. They
// have names of their own so that the audit log tells them apart.
const (
	userAdmin      = "admin"
	userController = "system:kube-controller-manager"
	userScheduler  = "system:kube-scheduler"
	userKubelet    = "sim-kubelet"
)

// credentials are the files that the components start from.
type credentials struct {
	dir    string            // DIR/pki
	ca     []byte            // the cluster CA in PEM form
	tokens map[string]string // user → bearer token
}

// file names a file of the credentials.
func (c *credentials) file(name string) string { return filepath.Join(c.dir, name) }

// newCredentials writes a cluster CA, a serving certificate for loopback, a
// key for service account tokens and a token for each user into dir.
func newCredentials(dir string) (*credentials, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &credentials{dir: dir, tokens: map[string]string{}}

	caKey, err := c.newKey("ca.key")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "kubernetes"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	if c.ca, err = c.sign("ca.crt", ca, ca, caKey.Public(), caKey); err != nil {
		return nil, err
	}

	servingKey, err := c.newKey("apiserver.key")
	if err != nil {
		return nil, err
	}
	serving := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "kube-apiserver"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(10, 96, 0, 1)},
	}
	if _, err := c.sign("apiserver.crt", serving, ca, servingKey.Public(), caKey); err != nil {
		return nil, err
	}

	if _, err := c.newKey("service-account.key"); err != nil {
		return nil, err
	}

	var table strings.Builder
	for _, user := range []string{userAdmin, userController, userScheduler, userKubelet} {
		secret := make([]byte, 16)
		if _, err := rand.Read(secret); err != nil {
			return nil, err
		}
		c.tokens[user] = hex.EncodeToString(secret)
		fmt.Fprintf(&table, "%s,%s,%s,system:masters\n", c.tokens[user], user, user)
	}
	return c, os.WriteFile(c.file("tokens.csv"), []byte(table.String()), 0o600)
}

// newKey makes an elliptic curve key, which costs far less time than RSA.
func (c *credentials) newKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return key, os.WriteFile(c.file(name), block, 0o600)
}

// sign writes one certificate and returns its PEM form.
func (c *credentials) sign(name string, certificate, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, certificate, parent, public, signer)
	if err != nil {
		return nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return block, os.WriteFile(c.file(name), block, 0o600)
}

// writeKubeconfig writes a kubeconfig for one user, with the CA embedded, so
// that the file can be copied and merged freely.
func (c *credentials) writeKubeconfig(path, server, user string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["controlplane"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: c.ca}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: c.tokens[user]}
	config.Contexts[user] = &clientcmdapi.Context{Cluster: "controlplane", AuthInfo: user}
	config.CurrentContext = user
	return clientcmd.WriteToFile(*config, path)
}
