package pg

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/manorhq/manor/controlplane"
)

// authority signs certificates for host names.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "root.crt")}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	must(t, os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600))
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	template.SerialNumber, template.Subject = big.NewInt(1), pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(a.t, err)
	cert, err := x509.ParseCertificate(der)
	must(a.t, err)
	return cert, key
}

// shake lets a client with our configuration meet a server called name.
func (a *authority) shake(client *tls.Config, name string) error {
	cert, key := a.sign(&x509.Certificate{DNSNames: []string{name}})
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		defer there.Close()
		_ = tls.Server(there, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}).Handshake()
	}()
	return tls.Client(here, client).Handshake()
}

func TestTLSModesVerifyWhatTheyPromise(t *testing.T) {
	t.Parallel()
	ours, other := newAuthority(t), newAuthority(t)
	for _, c := range []struct {
		mode, root              string
		right, renamed, strange bool // is a server with this certificate let in?
	}{
		{"", ours.file, true, false, false},
		{"verify-full", ours.file, true, false, false},
		{"verify-ca", ours.file, true, true, false},
		{"require", ours.file, true, true, false},
		{"require", "", true, true, true},
		{"verify-full", "", false, false, false},
	} {
		for _, meeting := range []struct {
			who  *authority
			name string
			want bool
		}{{ours, "db.example", c.right}, {ours, "other.example", c.renamed}, {other, "db.example", c.strange}} {
			config, err := newTLS(controlplane.TLS{Mode: c.mode, RootCert: c.root}, "db.example")
			must(t, err)
			if err := meeting.who.shake(config, meeting.name); (err == nil) != meeting.want {
				t.Errorf("mode %q, root %t, server %s: %v", c.mode, c.root != "", meeting.name, err)
			}
		}
	}
}
