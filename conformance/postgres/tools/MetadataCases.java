// What DBeaver, DataGrip and every tool that is built on JDBC ask of PostgreSQL's driver, unmodified: each method of
// DatabaseMetaData. Runs one case against the server the environment names and prints what came out, a line a
// fact. Without a case it prints the driver's version and the cases' names.

import java.lang.reflect.*;
import java.sql.*;
import java.util.*;

public class MetadataCases {
  /** About the connection itself, which is another here and there. */
  static final Set<String> OWN = Set.of("getURL", "getUserName", "getConnection");

  static Connection open() throws SQLException {
    Properties p = new Properties();
    p.put("user", System.getenv("PGUSER"));
    p.put("password", System.getenv("PGPASSWORD"));
    p.put("sslmode", "verify-ca");
    p.put("sslrootcert", System.getenv("PGSSLROOTCERT"));
    p.put("ApplicationName", "DBeaver 24 - Main <orders>");
    String url = "jdbc:postgresql://" + System.getenv("PGHOSTADDR") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
    return DriverManager.getConnection(url, p);
  }

  static void told(String of, Object value) throws SQLException {
    if (!(value instanceof ResultSet r)) { System.out.println(of + " " + value); return; }
    int columns = r.getMetaData().getColumnCount();
    List<String> rows = new ArrayList<>();
    while (r.next()) {
      StringBuilder row = new StringBuilder(of);
      for (int i = 1; i <= columns; i++) row.append("|").append(r.getString(i));
      rows.add(row.toString());
    }
    Collections.sort(rows);
    rows.forEach(System.out::println);
  }

  static void call(DatabaseMetaData m, String name, Class<?>[] types, Object... args) throws Exception {
    try { told(name, DatabaseMetaData.class.getMethod(name, types).invoke(m, args)); }
    catch (InvocationTargetException e) {
      if (!(e.getCause() instanceof SQLFeatureNotSupportedException)) throw e;
      System.out.println(name + " is not implemented");
    }
  }

  static Class<?>[] strings(int count, Class<?>... more) {
    List<Class<?>> types = new ArrayList<>(Collections.nCopies(count, String.class));
    types.addAll(List.of(more));
    return types.toArray(new Class<?>[0]);
  }

  static void withoutArguments(DatabaseMetaData m) throws Exception {
    Method[] all = DatabaseMetaData.class.getMethods();
    Arrays.sort(all, Comparator.comparing(Method::getName));
    for (Method one : all)
      if (one.getParameterCount() == 0 && one.getDeclaringClass() == DatabaseMetaData.class && !OWN.contains(one.getName()))
        call(m, one.getName(), new Class<?>[0]);
  }

  static void objects(DatabaseMetaData m) throws Exception {
    call(m, "getTables", new Class<?>[] { String.class, String.class, String.class, String[].class }, null, "public", "%", null);
    call(m, "getSchemas", strings(2), null, "%");
    for (String name : List.of("getColumns", "getProcedureColumns", "getFunctionColumns"))
      call(m, name, strings(4), null, "public", "%", "%");
    for (String name : List.of("getProcedures", "getFunctions", "getTablePrivileges", "getSuperTables", "getSuperTypes"))
      call(m, name, strings(3), null, "public", "%");
    call(m, "getAttributes", strings(4), null, "public", "%", "%");
    call(m, "getUDTs", new Class<?>[] { String.class, String.class, String.class, int[].class }, null, "public", "%", null);
  }

  static void tables(DatabaseMetaData m) throws Exception {
    for (String table : List.of("items", "ledger", "child", "many", "cheap")) {
      for (String name : List.of("getPrimaryKeys", "getImportedKeys", "getExportedKeys", "getVersionColumns"))
        call(m, name, strings(3), null, "public", table);
      call(m, "getColumnPrivileges", strings(4), null, "public", table, "%");
      call(m, "getIndexInfo", strings(3, boolean.class, boolean.class), null, "public", table, false, true);
      call(m, "getBestRowIdentifier", strings(3, int.class, boolean.class), null, "public", table, 2, true);
      call(m, "getCrossReference", strings(6), null, "public", "items", null, "public", table);
    }
  }

  static void editing(Connection c) throws SQLException {
    c.setAutoCommit(false);
    try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
      s.setFetchSize(3);
      ResultSet r = s.executeQuery("select id, amount from ledger where id < 10 order by id");
      r.moveToInsertRow();
      r.updateInt(1, 7500);
      r.updateInt(2, 1);
      r.insertRow();
      told("inserted", s.executeQuery("select id, amount from ledger where id = 7500"));
      ResultSetMetaData m = s.executeQuery("select i.id, i.name, c.item from items i left join child c on c.item = i.id").getMetaData();
      for (int i = 1; i <= m.getColumnCount(); i++)
        System.out.println(m.getColumnLabel(i) + " " + m.getTableName(i) + " " + m.getSchemaName(i) + " " + m.isAutoIncrement(i) + " " + m.isNullable(i));
    }
    c.rollback();
  }

  public static void main(String[] args) throws Exception {
    if (args.length == 0) {
      System.out.println(org.postgresql.util.DriverInfo.DRIVER_VERSION);
      System.out.println("all that is asked without arguments\nobjects of a schema\nkeys, indexes and privileges of tables\na grid that is edited");
      return;
    }
    try (Connection c = open()) {
      if (args[0].startsWith("all")) withoutArguments(c.getMetaData());
      else if (args[0].startsWith("objects")) objects(c.getMetaData());
      else if (args[0].startsWith("keys")) tables(c.getMetaData());
      else editing(c);
    }
  }
}
