// Who looks at the page, and what they may do.

import { fetchJson } from "./http.js";

/** `{name, rights, accounts?}`; without `accounts` the rights are those in every account. */
export const fetchSession = (signal) => fetchJson("/api/session", { signal });

/** Whether this person has `right` in the account of that slug. */
export function may(person, right, account) {
  const rights = person.accounts ? person.accounts.find(({ slug }) => slug === account)?.rights : person.rights;
  return rights?.includes(right) ?? false;
}
