package pg

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"

	"github.com/manorhq/manor/controlplane"
)

// The TLS modes, as libpq names them.
const (
	verifyFull = "verify-full"
	verifyCA   = "verify-ca"
	require    = "require"
	disable    = "disable"
)

// newTLS returns how to secure a connection to host; nil is in the clear. There
// is no mode that falls back to the clear.
func newTLS(t controlplane.TLS, host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if t.Mode == disable {
		return nil, nil
	}
	if err := loadFiles(c, t); err != nil {
		return nil, err
	}
	switch t.Mode {
	case "", verifyFull:
	case verifyCA:
		verifyChainOnly(c)
	case require:
		c.InsecureSkipVerify = true
		if t.RootCert != "" { // as libpq does it
			verifyChainOnly(c)
		}
	default:
		return nil, controlplane.Errorf(controlplane.Invalid, "TLS mode %q is not one of %v", t.Mode, controlplane.TLSModes)
	}
	return c, nil
}

func loadFiles(c *tls.Config, t controlplane.TLS) error {
	if t.RootCert != "" {
		pem, err := os.ReadFile(t.RootCert)
		if err != nil {
			return controlplane.Errorf(controlplane.Invalid, "read the root certificate: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return controlplane.Errorf(controlplane.Invalid, "%s holds no certificate in PEM", t.RootCert)
		}
	}
	if t.Cert == "" && t.Key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return controlplane.Errorf(controlplane.Invalid, "load the client certificate %q with key %q: %w", t.Cert, t.Key, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return nil
}

// verifyChainOnly accepts any name in a certificate of a trusted authority,
// which is what verify-ca means.
func verifyChainOnly(c *tls.Config) {
	c.InsecureSkipVerify = true
	roots := c.RootCAs
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server sent no certificate")
		}
		options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
		for _, cert := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
}
