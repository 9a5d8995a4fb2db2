// A real OpenID Connect provider for tests, on loopback. Whoever logs in as "ana+sales+eu" is ana, in the groups sales and eu.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const [port, redirectUri] = [Number(process.argv[2]), process.argv[3]];
const client = (id, more) => ({
  client_id: id, redirect_uris: [redirectUri], grant_types: ['authorization_code'], response_types: ['code'], ...more,
});

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    client('lake', { client_secret: 'a secret: with+odd&characters%' }),
    client('public-lake', { token_endpoint_auth_method: 'none', application_type: 'native' }),
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
  findAccount: (_, login) => {
    const [sub, ...groups] = login.split('+');
    return {
      accountId: login,
      claims: () => ({ sub: login, email: `${sub}@example.com`, email_verified: sub !== 'unverified', groups }),
    };
  },
  cookies: { keys: ['for tests'] },
  features: { devInteractions: { enabled: true } },
  pkce: { required: () => true },
});
createServer(provider.callback()).listen(port, '127.0.0.1', () => console.log('ready'));
